"""What a model has to be before anything is measured on it: finite weights, and a tokenizer that fits."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from glossae.errors import GlossaeError

# what transformers can make a tokenizer from, older kinds included
TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")


@torch.no_grad()
def check_weights(name: str, model: nn.Module) -> None:
    """One pass over the weights.

    Raises:
        GlossaeError: a tensor holds a number that is NaN or infinite.
    """
    for key, weight in model.named_parameters():
        # NaN and infinity both show in the extremes, which takes no memory beside the tensor
        if weight.numel() and not torch.stack(torch.aminmax(weight)).isfinite().all():
            raise GlossaeError(
                f"model: {name}: the tensor {key} holds numbers that are NaN or infinite "
                f"in {str(weight.dtype).removeprefix('torch.')}"
            )


def check_tokenizer_files(name: str, folder: Path) -> None:
    """Is there a tokenizer beside the weights?

    Raises:
        GlossaeError: there is none.
    """
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZER_FILES):
        raise GlossaeError(f"model: {name} has no tokenizer: there is no tokenizer.json beside its weights")


def check_tokenizer(name: str, tokenizer: Any, rows: int) -> None:
    """Do the ids that text can become lie within the embedding's `rows`?

    An embedding with rows to spare is common. So are special tokens beyond it that no text becomes (Gemma 3's
    for images, pads that were added): they are left alone.

    Raises:
        GlossaeError: they do not, or the tokens for the beginning or end of a text or the unknown do not.
    """
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    largest = max((id for token, id in tokenizer.get_vocab().items() if token not in special), default=0)
    if largest >= rows:
        raise GlossaeError(
            f"model: {name}: its tokenizer has ids up to {largest}, but its embedding only {rows} rows: "
            "they do not belong together"
        )
    for kind in ("bos", "eos", "unk"):
        id = getattr(tokenizer, f"{kind}_token_id")
        if id is not None and id >= rows:
            raise GlossaeError(
                f"model: {name}: its tokenizer's {kind} token {getattr(tokenizer, f'{kind}_token')!r} has the id "
                f"{id}, but its embedding only {rows} rows: they do not belong together"
            )
