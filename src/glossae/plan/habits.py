"""What texts would begin with, by the model's tokenizer and by what an earlier run measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glossae.plan.models import ModelFacts

RECORD = "run.json"
_CHECKED = "checked by the loss at load"


def bos_lines(bos: bool | str, model: ModelFacts, out: Path) -> Iterator[str]:
    """What `bos: auto` will do, and both losses where the run's folder has them; nothing where the recipe sets it.

    Args:
        bos: the recipe's setting.
        model: the run's model; only files on this machine are read.
        out: the run's folder, whose `run.json` may have `habits` of an earlier start.
    """
    if bos != "auto":
        return
    tokenizer = _tokenizer(model.folder)
    if tokenizer is None:
        yield f"bos auto: what the tokenizer does by itself is unknown until the model is here; {_CHECKED}"
    elif _adds_bos(tokenizer):
        yield f"bos auto: the tokenizer adds a BOS by itself: on; {_CHECKED}"
    else:
        yield f"bos auto: the tokenizer adds no BOS by itself: off; {_CHECKED}"
    habits = _habits(out).get(model.name) or {}
    on, off = habits.get("loss_with_bos"), habits.get("loss_without_bos")
    if isinstance(on, float) and isinstance(off, float):
        yield f"bos: measured in {out}: {on:.2f} nats per token with a BOS, {off:.2f} without"


def chat_tokens(model: ModelFacts) -> int | None:
    """How many tokens of the chat template stand before each text; None where there is no tokenizer to ask.

    Raises:
        GlossaeError: the tokenizer has no chat template, or one that cannot be used.
    """
    tokenizer = _tokenizer(model.folder)
    if tokenizer is None:
        return None
    from glossae.lm import chat_ids

    return len(chat_ids(tokenizer, "", name=model.name))


def chat_line(tokens: int | None) -> str:
    """What `chat` will do."""
    many = "unknown until the model is here" if tokens is None else f"{tokens:,}"
    return (
        "chat: each text is read as a reply in a chat, and prompts are its user's; tokens of the chat template before "
        f"each: {many}"
    )


def _adds_bos(tokenizer: Any) -> bool:
    from glossae.lm import adds_bos

    return adds_bos(tokenizer)


def _tokenizer(folder: Path | None) -> Any:
    """The tokenizer in a folder; None where there is none that can be read."""
    if folder is None or not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return None
    # heavy, and asked for by recipes with `bos: auto` or `chat` alone
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        tokenizer("a")
    except Exception:  # the libraries raise what they like; loading the model will say what is wrong
        return None
    return tokenizer


def _habits(out: Path) -> dict[str, Any]:
    """The models' habits that an earlier start of the run wrote, by model; nothing where they cannot be read."""
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = record.get("habits") if isinstance(record, dict) else None
    return found if isinstance(found, dict) else {}
