"""The examination, as lines for a person."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from glossae._version import __version__
from glossae.doctor.packages import FEATURES, Package, needed
from glossae.doctor.surroundings import addresses, free, proxies, token, writable
from glossae.environment import cache_folder, install, offline
from glossae.errors import GlossaeError
from glossae.plan import bytes_text, folder_bytes, hub_cache, wrapped

HELP = """\
usage: glossae doctor

Look at this machine and say what it has: versions against what glossae needs, devices and the precision a
model would get there, caches and their sizes, free disk, what the environment says about the network, and
which optional features are there or how to install them. Nothing is fetched and no network is used; a
token is reported by where it is, never shown.

The exit status is 0 when glossae can run here ('glossae run demo' needs no more), even where an optional
feature is missing. It is 2, with one line on standard error about what to mend, when a package is missing
or too old, Python is, torch does not load, or the cache cannot be written."""

PYTHON = (3, 11)


def examine() -> Iterator[str]:
    """The lines, in order.

    Raises:
        GlossaeError: at the end, if glossae cannot run here; it names everything that is to be mended.
    """
    wrong: list[str] = []
    groups = needed()
    yield "Versions"
    version = platform.python_version()
    if sys.version_info < PYTHON:
        wrong.append(f"Python {version} is older than {'.'.join(map(str, PYTHON))}")
    yield from _line("python", f"{version}, {platform.system()} {platform.machine()}")
    yield from _line("glossae", __version__)
    for package in groups.pop("", []):
        yield from _line(package.name, _about(package))
        if not package.good:
            wrong.append(f"{package.name}: {_about(package)}")
    yield "Devices"
    yield from _devices(wrong)
    yield "Caches and disk"
    yield from _caches(wrong)
    yield "Network (not used now)"
    yield from _network()
    yield "Optional features"
    yield from _features(groups)
    yield ""
    if wrong:
        raise GlossaeError(
            f"doctor: glossae cannot run here: {'; '.join(wrong)}; packages are mended by 'pip install --upgrade NAME'"
        )
    yield "glossae can run here."


def _line(name: str, text: str) -> Iterator[str]:
    yield from wrapped(f"  {name:<18}", text, gap=1)


def _about(package: Package) -> str:
    least = f"needs {package.least} or newer" if package.least else "any version"
    if package.found is None:
        return f"not installed, {least}"
    return package.found if package.good else f"{package.found} is too old, {least}"


def _devices(wrong: list[str]) -> Iterator[str]:
    try:
        # here torch is imported: it may be missing, or made for another machine
        from glossae.doctor.devices import chosen, devices

        for name, text in devices():
            yield from _line(name, text)
        yield from _line("device auto", chosen())
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        wrong.append(f"torch does not load ({reason})")
        yield from _line("torch", f"does not load: {reason}")


def _caches(wrong: list[str]) -> Iterator[str]:
    places = {"glossae's cache": cache_folder()}
    try:
        places["the hub's cache"] = hub_cache()
    except ImportError as error:
        yield from _line("the hub's cache", f"unknown: {error}")
    for name, path in places.items():
        held = bytes_text(folder_bytes(path)) if path.is_dir() else "not there yet"
        yield from _line(name, f"{path}: {held}, {bytes_text(free(path))} free")
        if not writable(path):
            wrong.append(f"{path} cannot be written to")
            yield from _line("", "cannot be written to")
    yield from _line("runs here", f"{Path.cwd()}: {bytes_text(free(Path.cwd()))} free")


def _network() -> Iterator[str]:
    kept = offline()
    yield from _line(
        "hub and OPUS", f"kept from the network by {kept}" if kept else "asked when something is missing"
    )
    for name in addresses():
        yield from _line(name, "is set: another server than the usual one is asked")
    if names := proxies():
        yield from _line("proxies", f"{', '.join(names)} set")
    try:
        place = token()
    except ImportError:
        place = None
    yield from _line(
        "token for the hub", f"found ({place}), not shown" if place else "none; gated models need one"
    )


def _features(groups: dict[str, list[Package]]) -> Iterator[str]:
    for extra, packages in groups.items():
        about = FEATURES.get(extra, "an extra")
        lacking = [package for package in packages if not package.good]
        if lacking:
            names = ", ".join(package.name for package in lacking)
            names_of = " ".join(f"'{p.name}>={p.least}'" if p.least else p.name for p in lacking)
            yield from _line(
                extra, f"{about}: {names} missing or too old; {install(extra)}, or pip install {names_of}"
            )
        else:
            here = ", ".join(f"{package.name} {package.found}" for package in packages)
            yield from _line(extra, f"{about}: {here}")
