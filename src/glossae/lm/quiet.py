"""Transformers without its talk: nothing is printed, and what it raises is one line that names the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from glossae.errors import GlossaeError
from glossae.hub import quietly

# above every level that transformers logs at
_SILENT = 100


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers and the hub's client print while loading; what matters of it is raised here instead."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    with quietly(bars=False):
        logging.set_verbosity(_SILENT)
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()


@contextmanager
def one_line(name: str) -> Iterator[None]:
    """Whatever transformers or the file formats raise becomes one line that names the model."""
    try:
        yield
    except GlossaeError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise GlossaeError(
                f"model: {name} needs code of its own (auto_map in its configuration), which glossae does not run: "
                "use a model of a kind that Transformers has"
            ) from error
        if type(error).__name__ == "SafetensorError":
            raise GlossaeError(
                f"model: {name} cannot be loaded: a *.safetensors file of it is cut short or is none "
                f"({first_line(error)}): fetch or copy it again"
            ) from error
        # what Python itself says of a list where a dictionary was meant says nothing of the model's files
        what = isinstance(error, LookupError | TypeError | AttributeError | JSONDecodeError)
        why = (
            f"one of its files is not as it should be ({type(error).__name__}: {error})"
            if what
            else first_line(error)
        )
        raise GlossaeError(f"model: {name} cannot be loaded: {why}") from error


def first_line(error: BaseException) -> str:
    """The first line of what an error says, with the next where it ends in a colon; its class where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 1 + lines[0].endswith(":")])
