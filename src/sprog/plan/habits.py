"""Whether texts would begin with a BOS under `bos: auto`, by the tokenizer and by what an earlier run measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sprog.plan.models import ModelFacts

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
    own = adds_bos(model.folder)
    if own is None:
        yield f"bos auto: what the tokenizer does by itself is unknown until the model is here; {_CHECKED}"
    elif own:
        yield f"bos auto: the tokenizer adds a BOS by itself: on; {_CHECKED}"
    else:
        yield f"bos auto: the tokenizer adds no BOS by itself: off; {_CHECKED}"
    habits = _habits(out).get(model.name) or {}
    on, off = habits.get("loss_with_bos"), habits.get("loss_without_bos")
    if isinstance(on, float) and isinstance(off, float):
        yield f"bos: measured in {out}: {on:.2f} nats per token with a BOS, {off:.2f} without"


def adds_bos(folder: Path | None) -> bool | None:
    """Whether the tokenizer in a folder puts its BOS before a text by itself; None where there is none to ask."""
    if folder is None or not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return None
    # heavy, and asked for by recipes with `bos: auto` alone
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    except Exception:  # the libraries raise what they like; loading the model will say what is wrong
        return None
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _habits(out: Path) -> dict[str, Any]:
    """The models' habits that an earlier start of the run wrote, by model; nothing where they cannot be read."""
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = record.get("habits") if isinstance(record, dict) else None
    return found if isinstance(found, dict) else {}
