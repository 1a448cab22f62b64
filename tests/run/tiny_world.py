"""A world small enough to run the whole way through in seconds: text in every format, and a random model."""

import copy
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
import torch

from glossae.cli import main
from glossae.stages import stage_of
from toy_grammar import sentences

PAIRS = 90
"""Pairs to train on; the pairs to test on are others."""
TEST_PAIRS = 20

SMALL = {
    "languages.others": "sv",
    # scripts that compute the same are in float32, whatever a CPU is fast in
    "dtype": "float32",
    "site": "resid",
    "layer": "auto",
    "sae.latents": "64",
    "sae.k": "4",
    "sae.epochs": "1",
    "sae.batch_tokens": "256",
    "probe.seeds": "2",
    "probe.tokens": "1000",
    "probe.lambdas": "0.01,0.1",
    "effects.values": "-4,0,4",
    "effects.bootstrap": "20",
    "effects.max_length": "12",
    # what takes most of a run is looked at end to end
    "effects.families": "none",
    "effects.tune": "false",
    "effects.prompts": "false",
    "report.texts": "2",
    # the stage has tests of its own
    "baselines.untrained": "0",
    "dashboards.units": "0",
}
"""The settings that make every stage small."""

EVERYTHING = {"effects__families": "direction", "effects__tune": "true", "effects__prompts": "true"}
"""What they leave out of the effects."""

STEERED = {
    "layer": 1,
    "languages__others": "sv",
    "features__units": "3,7",
    "evidence__permutations": 0,
    "evidence__scores": "false",
    "steering__prompts": 5,
    "steering__prompt_tokens": 3,
    "steering__tokens": 5,
    "steering__values": "2",
    "steering__kl": "0.02",
    "steering__examples": 1,
    "effects__sweep": "false",
}
"""Settings of a small run with the stage steering."""

RECIPE = """\
description: A recipe of the tests' own, so that the shipped ones can be tuned without a test noticing.
batch_tokens: 4096
model: MODEL
corpora:
  train: talks.tsv
sae:
  latents: 64
  k: 4
"""


def write_texts(folder: Path) -> dict[str, str]:
    """Write one text in every format; gives the sources by what they are."""
    pairs = sentences(PAIRS + TEST_PAIRS, seed=3)
    train, test = pairs[:PAIRS], pairs[PAIRS:]
    files = {
        name: folder / name for name in ("talks.tsv", "press.tmx", "moses.da", "moses.en", "swedish.txt")
    }
    rows = [f"{pair[code]}\t{label}\n" for pair in train for code, label in (("da", 0), ("en", 1))]
    files["talks.tsv"].write_text("".join(rows), encoding="utf-8")
    files["press.tmx"].write_text(as_tmx(test, ("da", "en", "sv")), encoding="utf-8")
    for code in ("da", "en"):
        lines = "".join(f"{pair[code]}\n" for pair in train)
        files[f"moses.{code}"].write_text(lines, encoding="utf-8")
    files["swedish.txt"].write_text("".join(f"{pair['sv']}\n" for pair in train), encoding="utf-8")
    return {
        "tsv": str(files["talks.tsv"]),
        "tmx": str(files["press.tmx"]),
        "moses": f"da={files['moses.da']},en={files['moses.en']}",
        "one language": f"sv={files['swedish.txt']}",
    }


def write_panel(folder: Path) -> Path:
    """Write 400 sentences of each of Danish and English, none beside its translation: each counts by itself."""
    made = sentences(400, seed=21)
    rows = [f"{pair[code]}\t{label}\n" for code, label in (("da", 0), ("en", 1)) for pair in made]
    panel = folder / "panel.tsv"
    panel.write_text("".join(rows), encoding="utf-8")
    return panel


def untrained_rows(seed: int, latents: int, width: int) -> np.ndarray:
    """The decoder's rows, and the encoder's, of an untrained autoencoder: random, of length 1."""
    drawn = torch.randn(latents, width, generator=torch.Generator().manual_seed(seed))
    rows: np.ndarray = (drawn / drawn.norm(dim=1, keepdim=True)).double().numpy()
    return rows


def untrained_code(x: np.ndarray, rows: np.ndarray, centre: np.ndarray, k: int) -> np.ndarray:
    """What each of its latents reads at each of some tokens, by top-k."""
    pre = (x - centre) @ rows.T
    kept = np.argsort(-pre, axis=1)[:, :k]
    code = np.zeros_like(pre)
    np.put_along_axis(code, kept, np.maximum(np.take_along_axis(pre, kept, 1), 0), 1)
    return code


def as_tmx(pairs: list[dict[str, str]], codes: tuple[str, ...]) -> str:
    """Pairs as a translation memory."""
    units = "".join(
        "<tu>"
        + "".join(f'<tuv xml:lang="{code}"><seg>{escape(pair[code])}</seg></tuv>' for code in codes)
        + "</tu>\n"
        for pair in pairs
    )
    return f'<?xml version="1.0"?>\n<tmx version="1.4"><header/><body>\n{units}</body></tmx>\n'


def write_model(folder: Path, tokenizer: Any, **changes: Any) -> Path:
    """Save a random GPT-NeoX model of three layers and width 32, with its tokenizer."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    torch.manual_seed(1)
    GPTNeoXForCausalLM(GPTNeoXConfig(**(settings | changes))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained_tokenizer() -> Any:
    """A byte-level BPE of the toy grammar's words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([text for pair in sentences(PAIRS, seed=3) for text in pair.values()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def stages_worked_at(log: str) -> list[str]:
    """The stages that a run says it has done, without those that it kept, and the report."""
    return [stage for stage in re.findall(r"^\S+ (\w+): done in ", log, re.MULTILINE) if stage != "report"]


class World:
    """Text and a model, and the command line that runs them."""

    def __init__(self, folder: Path) -> None:
        self.settings = SMALL
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.texts = write_texts(folder)
        self.model = write_model(folder / "model", trained_tokenizer())
        self.recipe = folder / "tiny.yaml"
        self.recipe.write_text(RECIPE, encoding="utf-8")

    def other(self, **changes: str) -> "World":
        """The same world with other settings; keys of `changes` have `__` for a dot."""
        other = copy.copy(self)
        other.settings = self.settings | {key.replace("__", "."): value for key, value in changes.items()}
        return other

    def line(self, out: Path, recipe: str | None = None, **changes: Any) -> list[str]:
        """The command that runs the tiny world into `out`; keys of `changes` have `__` for a dot."""
        settings = self.settings | {
            "model": str(self.model),
            "corpora.train": f"{self.texts['tsv']} {self.texts['one language']}",
            "corpora.test": self.texts["tmx"],
        }
        settings |= {key.replace("__", "."): str(value) for key, value in changes.items()}
        flags = [f"--{key}={value}" for key, value in settings.items() if value != "None"]
        # most tests change settings in a finished folder; test_run_kept.py leaves it out
        return ["run", recipe or str(self.recipe), "--out", str(out), "--again", *flags]

    def run(self, out: Path, *more: str, **changes: Any) -> int:
        """Run it in this process, without progress."""
        return main([*self.line(out, **changes), "--quiet", *more])

    def run_undrawn(self, out: Path, *more: str, **changes: Any) -> int:
        """The same without its page, which takes most of a small run; for fixtures whose page nobody looks at."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage_of("report"), "run", lambda *_: {})
            return self.run(out, *more, **changes)
