"""From text to a trained autoencoder: glossae against the paper's own loop, and against the bare forward passes.

    python benchmarks/end_to_end.py MODEL TEXT.tsv [--site mlp.hidden] [--layer 3] [--latents 4096] [--k 32]
                                    [--sentences 3200] [--batch-tokens N] [--repeats 3] [--threads 2] [--json]

Three ways through the same sentences, turn by turn in one process:

- `ours`: read and clean the file, tokenize, batch, run the model up to the site, mix, train; one epoch, with the
  settings that `glossae run find` has by default. In the dtype that such a run takes on this machine, and in float32.
- `paper`: one sentence at a time through the whole model with its logits, as the paper's code does; of each 32
  sentences one step of plain autograd (`plain_step` of sae_step.py) with as many latents.
- `bare`: the same sentences, tokenized before, through the model up to the site, and nothing else.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# as the command line has it; before torch starts its threads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import torch

from glossae.corpora import Corpus, read_source
from glossae.lm import (
    LanguageModel,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    fast_bfloat16,
    load,
    tokenize,
)
from glossae.recipe import Recipe, load_recipe
from glossae.sae import SaeConfig, train_group
from glossae.stages.shared.sae_jobs import TrainingText, train_settings
from sae_step import plain_step

PAPERS_SENTENCES = 32


def read(arguments: argparse.Namespace) -> Corpus:
    """Read and clean the text."""
    return read_source(arguments.text, languages=arguments.languages).corpus


def ours(lm: LanguageModel, site: Site, recipe: Recipe, arguments: argparse.Namespace) -> int:
    """The run's way; gives the number of tokens."""
    text = TrainingText(lm, site, tokenize(lm, read(arguments)), recipe)
    config = SaeConfig(d_in=lm.width(site), latents=arguments.latents, k=arguments.k)
    ((_, log),) = train_group([(config, train_settings(recipe, text))], text.stream, text.mixer())
    return log[-1].tokens


def bare(
    lm: LanguageModel, tokens: TokenizedCorpus, site: Site, recipe: Recipe, _: argparse.Namespace
) -> int:
    """The passes alone, of text that is tokenized already."""
    made = batches(tokens, recipe.batch_tokens)
    return sum(len(part.sites[site]) for part in activations(lm, made, [site]))


def paper(lm: LanguageModel, site: Site, _: Recipe, arguments: argparse.Namespace) -> int:
    """The paper's way: its model in float32, whole passes, a sentence at a time."""
    step: Callable[[torch.Tensor], object] | None = None
    seen, count = [], 0
    found: list[torch.Tensor] = []
    handles = lm.tap(site).attach(lambda x: found.append(x))
    sentences = read(arguments).sentences
    for number, sentence in enumerate(sentences, 1):
        ids = lm.tokenizer(sentence.text, return_tensors="pt")["input_ids"][:, : lm.max_positions]
        found.clear()
        with torch.no_grad():
            lm.model(input_ids=ids)
        seen.append(found[0][0])
        if number % PAPERS_SENTENCES == 0 or number == len(sentences):
            x = torch.cat(seen)
            step = step or plain_step(x, arguments.latents, arguments.k)
            step(x)
            count += len(x)
            seen.clear()
    for handle in handles:
        handle.remove()
    return count


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Median seconds and tokens of each way, taking turns."""
    settings = {
        "model": arguments.model,
        "corpora.text": arguments.text,
        "languages.target": arguments.languages[0],
        "site": arguments.site,
        "layer": str(arguments.layer),
        "sae.latents": str(arguments.latents),
        "sae.k": str(arguments.k),
        "sae.epochs": "1",
    }
    if arguments.batch_tokens:
        settings["batch_tokens"] = str(arguments.batch_tokens)
    recipe = load_recipe("find", settings, dashes="")
    site = Site(recipe.site, arguments.layer)
    models = {"float32": load(arguments.model, dtype=torch.float32)}
    if fast_bfloat16():
        models["bfloat16"] = load(arguments.model, dtype=torch.bfloat16)
    ways = {}
    for dtype, lm in models.items():
        tokens_of = tokenize(lm, read(arguments))
        ways |= {f"ours, {dtype}": partial(ours, lm), f"bare, {dtype}": partial(bare, lm, tokens_of)}
    ways["paper"] = partial(paper, models["float32"])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    tokens = {}
    # the first turn warms up
    for turn in range(arguments.repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            tokens[name] = way(site, recipe, arguments)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    rates = {name: tokens[name] / statistics.median(seconds[name]) for name in ways}
    found: dict[str, object] = {"tokens": tokens, "tokens_per_second": rates}
    for dtype in models:
        own = rates[f"ours, {dtype}"]
        found[dtype] = {"times_the_paper": own / rates["paper"], "of_bare": own / rates[f"bare, {dtype}"]}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--languages", nargs="+", default=["da", "en"])
    parser.add_argument("--site", default="mlp.hidden")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--sentences", type=int, default=3200)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = Path(arguments.text).read_text(encoding="utf-8").splitlines()[: arguments.sentences]
    with tempfile.TemporaryDirectory() as folder:
        arguments.text = f"{folder}/text.tsv"
        Path(arguments.text).write_text("\n".join(lines) + "\n", encoding="utf-8")
        found = measure(arguments)
    for name, rate in found["tokens_per_second"].items():
        print(f"{name:16} {rate:>10,.0f} tokens/s ({found['tokens'][name]:,} tokens)")
    for dtype in ("float32", "bfloat16"):
        if dtype in found:
            own = found[dtype]
            print(
                f"{dtype}: {own['times_the_paper']:.1f} times the paper's loop, {own['of_bare']:.2f} of the bare passes"
            )
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
