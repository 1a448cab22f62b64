"""Memory that is not there, in one line for a person: before it is asked for, and after."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glossae.errors import GlossaeError

# On a CPU torch has no class of its own for it; its sizes overflow where a number is absurd, and safetensors and the
# C++ library have words of their own.
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "out of memory",
    "bad_alloc",
    "bad alloc",
    "storage size calculation overflowed",
    "overflow when unpacking long",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is out; by words, so that nothing heavy is imported."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = str(error).lower()
    return isinstance(error, Exception) and any(some in words for some in _WORDS)


@contextmanager
def enough_memory(message: str) -> Iterator[None]:
    """Carry out the block; where memory runs out in it, say `message`.

    Raises:
        GlossaeError: memory is out. One that the block raises itself goes through as it is.
    """
    try:
        yield
    except GlossaeError:
        raise
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise GlossaeError(message) from error


def free_memory() -> float:
    """Bytes of memory that this machine, or the container around this process, can still give; infinite if unknown."""
    free = float("inf")
    with suppress(OSError, ValueError, LookupError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {
            name: 1024.0 * int(rest.split()[0]) for name, _, rest in (row.partition(":") for row in lines)
        }
        free = sizes["MemAvailable"] + sizes["SwapFree"]
    with suppress(OSError, ValueError):
        # `max` where there is no limit
        free = min(free, float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return free


def check_free(needed: float, what: str) -> None:
    """Check that `what` fits in memory, before it is loaded.

    Raises:
        GlossaeError: it needs more bytes than are free.
    """
    if needed > (free := free_memory()):
        raise GlossaeError(
            f"{what}: needs {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free here"
        )
