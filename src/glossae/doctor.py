"""`glossae doctor`: what this machine has, and what is missing for which feature."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from glossae._version import __version__
from glossae.environment import cache_folder, install, offline
from glossae.errors import GlossaeError
from glossae.plan import bytes_text, folder_bytes, hub_cache, memory_bytes, wrap_text

PYTHON = (3, 11)
# the extras for users, with the purpose of each; `dev` is for work on glossae itself
FEATURES = {
    "hub": "text from the Hugging Face Hub (hub:OWNER/NAME)",
    "multi": "models shared out among several GPUs (device: split)",
    "tasks": "downstream tasks with adapters",
    "gguf": "models in GGUF files (--model PATH.gguf), and knobs for llama.cpp",
    "lid": "lingua, a second language identifier for steered text",
    "inspect": "Inspect's tasks on a turned model (inspect eval TASK --model glossae/MODEL)",
    "app": "the interactive app",
    "track": "logging to a tracker",
}
ADDRESSES = ("HF_ENDPOINT", "GLOSSAE_OPUS_BASE", "GLOSSAE_OPUS_API")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


class Package(NamedTuple):
    """A package that glossae or an extra needs.

    Attributes:
        name: as for pip.
        least: the oldest supported version; empty for any.
        found: the installed version; None if there is none.
    """

    name: str
    least: str
    found: str | None

    @property
    def good(self) -> bool:
        """Whether it is installed and new enough."""
        return self.found is not None and _numbers(self.found) >= _numbers(self.least)

    def __str__(self) -> str:
        least = f"needs {self.least} or newer" if self.least else "any version"
        if self.found is None:
            return f"not installed, {least}"
        return self.found if self.good else f"{self.found} is too old, {least}"


def examine() -> Iterator[str]:
    """The lines of the page, in order.

    Raises:
        GlossaeError: after the last line, if glossae cannot run here; it names every problem.
    """
    wrong: list[str] = []
    groups = _needed()
    yield "Versions"
    version = platform.python_version()
    if sys.version_info < PYTHON:
        wrong.append(f"Python {version} is older than {'.'.join(map(str, PYTHON))}")
    yield from _line("python", f"{version}, {platform.system()} {platform.machine()}")
    yield from _line("glossae", __version__)
    for package in groups.pop("", []):
        yield from _line(package.name, str(package))
        if not package.good:
            wrong.append(f"{package.name}: {package}")
    yield "Devices"
    yield from _devices(wrong)
    yield "Caches and disk"
    yield from _caches(wrong)
    yield "Network (not used now)"
    yield from _network()
    yield "Optional features"
    for extra, packages in groups.items():
        yield from _feature(extra, packages)
    yield ""
    if wrong:
        raise GlossaeError(
            f"doctor: glossae cannot run here: {'; '.join(wrong)}; packages are mended by 'pip install --upgrade NAME'"
        )
    yield "glossae can run here."


def _line(name: str, text: str) -> Iterator[str]:
    yield from wrap_text(f"  {name:<18}", text, gap=1)


def _needed() -> dict[str, list[Package]]:
    """The packages that glossae needs, under the empty name, and those of each extra except `dev`.

    Empty if glossae has no metadata, because it runs from a checkout that was never installed.
    """
    groups: dict[str, list[Package]] = {}
    try:
        requirements = metadata.requires("glossae") or []
    except metadata.PackageNotFoundError:
        requirements = []
    patterns = (r"([A-Za-z0-9._-]+)", r">=\s*([0-9][0-9.]*)", r"extra\s*==\s*['\"]([^'\"]+)['\"]")
    for requirement in requirements:
        matches = (re.search(pattern, requirement) for pattern in patterns)
        name, least, extra = (match[1] if match else "" for match in matches)
        if name and extra != "dev":
            try:
                found = metadata.version(name)
            except metadata.PackageNotFoundError:
                found = None
            groups.setdefault(extra, []).append(Package(name, least, found))
    return groups


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without zeros at the end: 2.9.0+cpu is (2, 9)."""
    numbers = [int(part) for part in re.findall(r"\d+", re.split(r"[^0-9.]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _devices(wrong: list[str]) -> Iterator[str]:
    """The processor, every GPU, and the device of `auto`."""
    try:
        # torch may be missing, or made for another machine
        import torch

        from glossae.lm import fast_bfloat16, resolve_device, resolve_dtype

        def dtype(place: torch.device) -> str:
            return f"dtype auto: {str(resolve_dtype('auto', place)).removeprefix('torch.')}"

        half = ", bfloat16 where a model's loss stays the same" if fast_bfloat16() else ""
        yield from _line(
            "cpu",
            f"{os.cpu_count() or 1} cores, {torch.get_num_threads()} threads, {bytes_text(memory_bytes())} memory; "
            f"{dtype(torch.device('cpu'))}{half}",
        )
        for number in range(torch.cuda.device_count()):
            place = torch.device("cuda", number)
            about = torch.cuda.get_device_properties(place)
            has = "bfloat16" if about.major >= 8 or torch.version.hip else "no fast bfloat16"
            memory = bytes_text(about.total_memory)
            yield from _line(f"cuda:{number}", f"{about.name}, {memory} memory, {has}; {dtype(place)}")
        yield from _line("device auto", str(resolve_device("auto")))
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
        yield from _line(name, f"{path}: {held}, {_free(path)}")
        nearest = _nearest(path)
        if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            wrong.append(f"{path} cannot be written to")
            yield from _line("", "cannot be written to")
    yield from _line("runs here", f"{Path.cwd()}: {_free(Path.cwd())}")


def _free(path: Path) -> str:
    return f"{bytes_text(shutil.disk_usage(_nearest(path)).free)} free"


def _nearest(path: Path) -> Path:
    """A folder, or the nearest above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _network() -> Iterator[str]:
    """The environment's settings of the network; proxies and tokens may be secret, and are not shown."""
    kept = offline()
    yield from _line(
        "hub and OPUS", f"kept from the network by {kept}" if kept else "asked when something is missing"
    )
    for name in filter(os.environ.get, ADDRESSES):
        yield from _line(name, "is set: another server than the usual one is asked")
    if names := [name for name in PROXIES if os.environ.get(name) or os.environ.get(name.lower())]:
        yield from _line("proxies", f"{', '.join(names)} set")
    place = next(filter(os.environ.get, TOKENS), None) or _token_file()
    yield from _line(
        "token for the hub", f"found ({place}), not shown" if place else "none; gated models need one"
    )


def _token_file() -> Path | None:
    try:
        from huggingface_hub import constants
    except ImportError:
        return None
    path = Path(os.environ.get("HF_TOKEN_PATH") or constants.HF_TOKEN_PATH)
    return path if path.is_file() and path.stat().st_size else None


def _feature(extra: str, packages: list[Package]) -> Iterator[str]:
    about = FEATURES.get(extra, "an extra")
    if lacking := [package for package in packages if not package.good]:
        names = ", ".join(package.name for package in lacking)
        named = " ".join(f"'{p.name}>={p.least}'" if p.least else p.name for p in lacking)
        about += f": {names} missing or too old; {install(extra)}, or pip install {named}"
    else:
        about += ": " + ", ".join(f"{package.name} {package.found}" for package in packages)
    yield from _line(extra, about)
