"""What can compute here, and in which precision a model would be put there. Imports torch."""

import os
from collections.abc import Iterator

from glossae.plan import bytes_text, memory_bytes


def devices() -> Iterator[tuple[str, str]]:
    """The processor, then every GPU: a name, and what there is to say about it."""
    import torch

    from glossae.lm import fast_bfloat16, resolve_dtype

    half = ", bfloat16 where a model's loss stays the same" if fast_bfloat16() else ""
    cores = os.cpu_count() or 1
    yield (
        "cpu",
        f"{cores} cores, {torch.get_num_threads()} threads, {bytes_text(memory_bytes())} memory; "
        f"dtype auto: {_name(resolve_dtype('auto', torch.device('cpu')))}{half}",
    )
    for number in range(torch.cuda.device_count()):
        place = torch.device("cuda", number)
        about = torch.cuda.get_device_properties(place)
        has = "bfloat16" if about.major >= 8 or torch.version.hip else "no fast bfloat16"
        yield (
            f"cuda:{number}",
            f"{about.name}, {bytes_text(about.total_memory)} memory, {has}; "
            f"dtype auto: {_name(resolve_dtype('auto', place))}",
        )


def chosen() -> str:
    """What `device: auto` means here."""
    from glossae.lm import resolve_device

    return str(resolve_device("auto"))


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")
