"""How many bytes a token has: by the model's own tokenizer where it is at hand, else by the table."""

from pathlib import Path
from typing import Any

from glossae.plan.models import ModelFacts
from glossae.plan.sizes import sizes
from glossae.plan.texts import BytesPerToken


def bytes_per_token(model: ModelFacts) -> BytesPerToken:
    """A function that says how many bytes of a language a token of this model has on average."""
    file = None if model.folder is None else model.folder / "tokenizer.json"
    tokenizer = None if file is None or not file.is_file() else _read(file)
    table = sizes()["bytes_per_token"]["toy" if model.name == "toy" else "pythia"]
    seen: dict[str, float] = {}

    def ratio(language: str, texts: list[str]) -> float:
        if language not in seen and tokenizer is not None and texts:
            tokens = sum(
                len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)
            )
            seen[language] = sum(len(text.encode()) for text in texts) / max(1, tokens)
        return seen.get(language) or float(table.get(language, table["other"]))

    return ratio


def _read(file: Path) -> Any:
    """The tokenizer in a file; None if it cannot be read."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception:  # the library raises the bare class; loading the model will say what is wrong
        return None
