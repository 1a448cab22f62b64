"""`glossae doctor`: what this machine has, and what is missing for which feature."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from glossae._version import __version__
from glossae.environment import cache_folder, install, offline
from glossae.files import nearest_there
from glossae.plan import bytes_text, folder_bytes, hub_cache, memory_bytes, wrap_text

PYTHON = (3, 11)
# the extras for users, with the purpose of each; `dev` is for work on glossae itself
FEATURES = {
    "hub": "text from the Hugging Face Hub (hub:OWNER/NAME)",
    "multi": "one model on several GPUs (--device split)",
    "tasks": "fine-tuning on downstream tasks (--tasks.finetune true)",
    "gguf": "models in GGUF files (--model PATH.gguf), and knobs for llama.cpp",
    "completion": "a shell that completes commands (glossae completion)",
    "lid": "lingua, a second language identifier for steered text",
    "inspect": "Inspect's tasks on a turned model (inspect eval TASK --model glossae/MODEL)",
    "app": "the app in the browser (glossae app)",
    "track": "numbers of a run in trackio (--track trackio)",
    "docs": "building the documentation",
}
FOLDERS = {"cache": "glossae's cache", "hub_cache": "the hub's cache", "here": "this folder"}
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

    def to_json(self) -> dict[str, Any]:
        """What `--json` has of it."""
        return {"least": self.least, "found": self.found, "good": self.good}

    def __str__(self) -> str:
        least = f"needs {self.least} or newer" if self.least else "any version"
        if self.found is None:
            return f"not installed, {least}"
        return self.found if self.good else f"{self.found} is too old, {least}"


def examine() -> dict[str, Any]:
    """What this machine has, as `--json` prints it: sizes are bytes; `error` names every problem, if there are any.

    Proxies and tokens are never in it, only whether they are set.
    """
    wrong: list[str] = []
    groups = _needed()
    version = platform.python_version()
    if sys.version_info < PYTHON:
        wrong.append(f"Python {version} is older than {'.'.join(map(str, PYTHON))}")
    own = groups.pop("", [])
    wrong += [f"{package.name}: {package}" for package in own if not package.good]
    facts: dict[str, Any] = {
        "glossae": __version__,
        "python": version,
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {package.name: package.to_json() for package in own},
        **_devices(wrong),
        "folders": _folders(wrong),
        "network": _network(),
        "features": {extra: _feature(extra, packages) for extra, packages in groups.items()},
    }
    if wrong:
        facts["error"] = (
            f"doctor: glossae cannot run here: {'; '.join(wrong)}; packages are mended by 'pip install --upgrade NAME'"
        )
    return facts


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """The page of what `examine` found, in lines."""
    yield "Versions"
    yield from _line("python", f"{facts['python']}, {facts['system']}")
    yield from _line("glossae", facts["glossae"])
    for name, package in facts["packages"].items():
        yield from _line(name, str(Package(name, package["least"], package["found"])))
    yield "Devices"
    for device in facts["devices"]:
        about = f"{device['about']}, {bytes_text(device['memory_bytes'])} memory"
        half = f", {device['bfloat16']}" if device["bfloat16"] else ""
        yield from _line(device["device"], f"{about}{half}; dtype auto: {device['dtype']}")
    yield from _line(*(("device auto", facts["auto"]) if facts["auto"] else ("torch", facts["torch_error"])))
    yield "Caches and disk"
    for name, folder in facts["folders"].items():
        held = "" if folder["bytes"] is None else f"{bytes_text(folder['bytes'])}, "
        held = held if folder["exists"] else "not there yet, "
        yield from _line(FOLDERS[name], f"{folder['path']}: {held}{bytes_text(folder['free_bytes'])} free")
        if not folder["writable"]:
            yield from _line("", "cannot be written to")
    yield "Network (not used now)"
    network = facts["network"]
    kept = network["offline"]
    yield from _line(
        "hub and OPUS",
        f"kept from the network by {kept}" if kept else "asked when a model or text is not here yet",
    )
    for name in network["addresses"]:
        yield from _line(name, "is set: another server than the usual one is asked")
    if network["proxies"]:
        yield from _line("proxies", f"{', '.join(network['proxies'])} set")
    place = network["token"]
    yield from _line(
        "token for the hub",
        f"found ({place}), not shown" if place else "none; gated models need one ('hf auth login')",
    )
    yield "Optional features"
    for extra, feature in facts["features"].items():
        what = feature["install"] or ", ".join(f"{name} {found}" for name, found in feature["found"].items())
        yield from _line(extra, f"{feature['about']}: {what}")
    yield ""
    if "error" not in facts:
        yield "glossae can run here; 'glossae run demo' tries everything on a toy model."


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


def _devices(wrong: list[str]) -> dict[str, Any]:
    """The processor, every GPU, and the device of `auto`; or why torch does not load."""
    try:
        # torch may be missing, or made for another machine
        import torch

        from glossae.lm import fast_bfloat16, resolve_device, resolve_dtype

        def device(place: torch.device, about: str, memory: float, half: str) -> dict[str, Any]:
            dtype = str(resolve_dtype("auto", place)).removeprefix("torch.")
            row = {"device": str(place), "about": about, "memory_bytes": round(memory)}
            return row | {"bfloat16": half, "dtype": dtype}

        half = "bfloat16 where a model's loss stays the same" if fast_bfloat16() else ""
        cores = f"cores {os.cpu_count() or 1}, threads {torch.get_num_threads()}"
        devices = [device(torch.device("cpu"), cores, memory_bytes(), half)]
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            has = "bfloat16" if about.major >= 8 or torch.version.hip else "no fast bfloat16"
            devices.append(device(torch.device("cuda", number), about.name, about.total_memory, has))
        return {"devices": devices, "auto": str(resolve_device("auto"))}
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        wrong.append(f"torch does not load ({reason})")
        return {"devices": [], "auto": None, "torch_error": f"does not load: {reason}"}


def _folders(wrong: list[str]) -> dict[str, Any]:
    places = {"cache": cache_folder()}
    # without the hub's client, which `packages` tells
    with suppress(ImportError):
        places["hub_cache"] = hub_cache()
    found = {}
    for name, path in (places | {"here": Path.cwd()}).items():
        near = nearest_there(path)
        writable = near.is_dir() and os.access(near, os.W_OK | os.X_OK)
        if name in places and not writable:
            wrong.append(f"{path} cannot be written to")
        found[name] = {
            "path": str(path),
            "exists": path.is_dir(),
            # a working folder may hold anything
            "bytes": folder_bytes(path) if name in places and path.is_dir() else None,
            "free_bytes": shutil.disk_usage(near).free,
            "writable": writable or name not in places,
        }
    return found


def _network() -> dict[str, Any]:
    """The environment's settings of the network; proxies and tokens may be secret, and are not shown."""
    place = next(filter(os.environ.get, TOKENS), None) or _token_file()
    return {
        "offline": offline(),
        "addresses": [name for name in ADDRESSES if os.environ.get(name)],
        "proxies": [name for name in PROXIES if os.environ.get(name) or os.environ.get(name.lower())],
        "token": place and str(place),
    }


def _token_file() -> Path | None:
    try:
        from huggingface_hub import constants
    except ImportError:
        return None
    path = Path(os.environ.get("HF_TOKEN_PATH") or constants.HF_TOKEN_PATH)
    return path if path.is_file() and path.stat().st_size else None


def _feature(extra: str, packages: list[Package]) -> dict[str, Any]:
    """Whether the packages of an extra are here, and how to install those that are not."""
    lacking = [package for package in packages if not package.good]
    names = ", ".join(package.name for package in lacking)
    named = " ".join(f"'{p.name}>={p.least}'" if p.least else p.name for p in lacking)
    how = f"{names} missing or too old; {install(extra)}, or pip install {named}" if lacking else None
    return {
        "about": FEATURES.get(extra, "an extra"),
        "good": not lacking,
        "found": {package.name: package.found for package in packages},
        "install": how,
    }
