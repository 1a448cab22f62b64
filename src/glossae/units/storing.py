"""Statistics as a file: one safetensors file, whose JSON header says what they are of."""

import json
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.files import replacing
from glossae.units.sketch import LAYOUTS
from glossae.units.statistics import UnitStatistics

FORMAT_VERSION = 1


def save_statistics(statistics: UnitStatistics, path: Path) -> None:
    """Write statistics into one file; it is either the old one or the new one, whole.

    Raises:
        GlossaeError: it cannot be written.
    """
    from safetensors.torch import save_file

    header = {
        "format": FORMAT_VERSION,
        "languages": statistics.languages,
        "identity": statistics.identity,
        "layout": statistics.layout,
        "skip_first": statistics.skip_first,
    }
    plain = {name: tensor.cpu().contiguous() for name, tensor in statistics.tensors().items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, {"glossae": json.dumps(header)})


def load_statistics(path: Path) -> UnitStatistics:
    """Read what `save_statistics` wrote.

    Raises:
        GlossaeError: it is missing or broken, or is something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            # "sprog" is what glossae was called
            header = json.loads(metadata.get("glossae", metadata.get("sprog", "null")))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read as statistics ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT_VERSION:
        raise GlossaeError(f"{path}: holds no glossae statistics of format {FORMAT_VERSION}")
    try:
        statistics = UnitStatistics(
            languages=tuple(header["languages"]),
            identity=header["identity"],
            layout=header["layout"],
            skip_first=header["skip_first"],
            **tensors,
        )
        shape = (len(statistics.languages), statistics.units)
        bins = LAYOUTS[statistics.layout].bins
    except (KeyError, TypeError) as error:
        raise GlossaeError(f"{path}: statistics are incomplete ({error})") from error
    for name, tensor in statistics.tensors().items():
        of_each = {"tokens": shape[:1], "sentences": shape[:1], "histogram": (*shape, bins)}
        wanted: tuple[int, ...] = of_each.get(name, shape)
        if tuple(tensor.shape) != wanted:
            raise GlossaeError(f"{path}: {name} should be {wanted} and is {tuple(tensor.shape)}")
    return statistics
