"""A plain Hugging Face model object, with its sites."""

import dataclasses
from typing import Any

from glossae.errors import GlossaeError
from glossae.lm.architectures import Architecture
from glossae.lm.candidates import architecture_of
from glossae.lm.check import check_sites
from glossae.lm.model import LanguageModel


def with_sites(
    model: Any, *, tokenizer: Any = None, name: str | None = None, architecture: Architecture | None = None
) -> LanguageModel:
    """A `transformers` model that is loaded already, with its sites checked by running it.

    Args:
        model: the model, which stays as it is.
        tokenizer: its tokenizer; edits need none.
        name: what it is called in errors; by default what it was loaded by.
        architecture: where its sites lie, for a family that `ARCHITECTURES` does not know.

    Raises:
        GlossaeError: it is in training mode, of an unknown family, or its sites do not behave.
    """
    called = name or getattr(model, "name_or_path", "") or type(model).__name__
    if model.training:
        raise GlossaeError(f"model: {called} is in training mode; call model.eval() first")
    lm = LanguageModel(
        name=called,
        commit=getattr(model.config, "_commit_hash", None),
        model=model,
        tokenizer=tokenizer,
        architecture=architecture or architecture_of(model),
    )
    return dataclasses.replace(lm, widths=check_sites(lm))
