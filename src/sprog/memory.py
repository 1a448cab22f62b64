"""Memory that is not to be had, in one line for a person; and memory that is kept for the next tensor."""

import ctypes
import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sprog.errors import SprogError

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


# of glibc's mallopt: how much it leaves free at the end of the heap, from which size on a block is the system's own,
# and what both are set to: the largest logits of a batch (`lm.loss.MAX_LOGITS`), and no large model's weights
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEPT = -1, -3, 2**28


def keep_freed_memory() -> None:
    """Have the C library keep blocks of up to 256 MiB that were freed, for the process's next tensors.

    glibc gives large blocks back to the system, which clears them anew each time they are asked for: that was 6 % of a
    model's passes on a CPU, and 9 to 17 % of computing losses. A C library that refuses is left as it is.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        # the second alone would turn off glibc's own adaptation, which costs far more than it saves
        if mallopt(_M_MMAP_THRESHOLD, _KEPT):
            mallopt(_M_TRIM_THRESHOLD, _KEPT)


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
        SprogError: memory is out. One that the block raises itself goes through as it is.
    """
    try:
        yield
    except SprogError:
        raise
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise SprogError(message) from error
