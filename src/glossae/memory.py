"""Memory that is not to be had, in one line for a person."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

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
