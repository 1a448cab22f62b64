"""Compare SAEs by site, depth, size, k and kind: which give Danish units? One table per model, results/NAME/grid.json.

    python results/grid.py FOLDER NAME

FOLDER has `models/NAME` and `data/`, as for results/make.py. One pass of the model stores activations of all
sites and depths; all training and testing uses those. The table is written after every cell, and an interrupted
run continues with the missing cells. The unit with the largest least sentence AUROC of Danish against each
other language on `tune` is chosen, and shown on `test`; languages are compared within one kind of text
(Europarl, Tatoeba, treebanks), never across. Then the first units of a cell are switched off, on `test`.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glossae._version import __version__
from glossae.corpora import Corpus, first_of_each, read_source
from glossae.effects import Edit, Step, SwitchOff, UnitSet, switch_off
from glossae.evidence import lape, testing
from glossae.files import write_json
from glossae.lm import (
    LanguageModel,
    Site,
    StoredActivations,
    TokenizedCorpus,
    decide_beginning,
    find_sinks,
    load,
    stored_activations,
    tokenize,
    with_sinks,
)
from glossae.sae import SaeConfig, TrainSettings, train, untrained
from glossae.stats import interval
from glossae.units import Counter, Directions, Latents, Moments, Neurons, SentenceTable, difference_of_means

HERE = Path(__file__).resolve().parent
TARGET = "da"
TRAIN = "da=data/parallel/europarl_20k.da,en=data/parallel/europarl_20k.en"
# kinds of text, each with the languages that Danish is compared with in it
KINDS = {
    "Europarl": (
        "da=data/languages/da.txt en=data/languages/en.txt sv=data/languages/sv.txt de=data/languages/de.txt "
        "nl=data/languages/nl.txt fr=data/languages/fr.txt"
    ),
    "Tatoeba": (
        "cols:en,da,-:data/parallel/tatoeba_en_da_dan.txt cols:en,sv,-:data/parallel/tatoeba_en_sv_swe.txt "
        "cols:en,nb,-:data/parallel/tatoeba_en_nb_nob.txt"
    ),
    "treebanks": (
        "da=data/ud_danish_ddt/da_ddt-ud-test.conllu nb=data/languages_ud/nb.txt sv=data/languages_ud/sv.txt "
        "de=data/languages_ud/de.txt nl=data/languages_ud/nl.txt"
    ),
}
# tokens to train on, by language; sentences of a language and kind of text to choose on, and to show on
TRAIN_TOKENS, TUNE, TEST = 30_000, 60, 90
BATCH, SEEDS, EPOCHS = 512, 3, 2
SITES = ("resid", "mlp.hidden", "mlp.out")
DEPTHS = {"a third": 1 / 3, "a half": 1 / 2, "four fifths": 4 / 5, "nine tenths": 9 / 10}
BASE: dict[str, Any] = {"site": "resid", "depth": "four fifths", "latents": 4096, "k": 64, "kind": "topk"}
# one setting at a time is changed from these
CHANGES: tuple[dict[str, Any], ...] = (
    *({"site": site, "depth": depth} for depth in list(DEPTHS)[:3] for site in SITES),
    {"depth": "nine tenths"},
    {"latents": 1024},
    {"k": 16},
    {"k": 128},
    {"kind": "matryoshka"},
    {"kind": "batchtopk"},
)
NESTED = (64, 512)
# units that are switched off together, sentences and precision (nats a token) that is done on
OFF, OFF_SENTENCES, OFF_PRECISION = 4, 64, 0.05
MINIMUM, DRAWS = 0.8, 1000


@dataclass(frozen=True)
class Text:
    """One kind of text, with its activations of every site."""

    kind: str
    tokens: TokenizedCorpus
    stored: StoredActivations


def corpus(source: str, languages: str, limit: int) -> Corpus:
    """The first sentences of each language of some sources."""
    found = [
        sentence
        for one in source.split(" ")
        for sentence in read_source(one, languages=languages.split()).corpus.sentences
    ]
    return Corpus.of(found[place] for place in first_of_each((s.language for s in found), limit))


def habits(lm: LanguageModel, sample: Corpus) -> LanguageModel:
    """The model with its BOS and its sinks, as a run finds them."""
    lm = replace(lm, bos=decide_beginning(lm, sample, "auto").bos)
    sites = [Site(site, layer) for site in SITES for layer in range(lm.layers)]
    return with_sinks(lm, find_sinks(lm, tokenize(lm, sample, max_tokens=64, prefix=lm.prefix), sites))


def sae_config(cell: dict[str, Any], site: Site, width: int) -> SaeConfig:
    """What a cell's autoencoder is."""
    nested = cell["kind"] == "matryoshka"
    return SaeConfig(
        d_in=width,
        latents=cell["latents"],
        k=cell["k"],
        site=site.name,
        layer=site.layer,
        activation="topk" if nested else cell["kind"],
        matryoshka=(*NESTED, cell["latents"]) if nested else (),
    )


def table_of(units: Latents | Neurons | Directions, text: Text, site: Site) -> SentenceTable:
    """The sentence table of a family of units on stored activations."""
    counter = Counter(units, text.tokens)
    for rows in runs(text.stored.sentence):
        counter.add(text.stored.read(site)[rows].float(), text.stored.sentence[rows])
    _, table = counter.finish()
    assert table is not None
    return table


def runs(sentence: Tensor, size: int = 4096) -> Iterator[slice]:
    """Slices of about so many rows that end where a sentence does."""
    ends = (torch.nonzero(sentence.diff()) + 1).flatten().tolist()
    start = 0
    for end, following in zip(ends, [*ends[1:], len(sentence) + size], strict=True):
        if following - start > size:
            yield slice(start, end)
            start = end
    yield slice(start, len(sentence))


def areas(
    units: Latents | Neurons | Directions, texts: list[Text], site: Site
) -> dict[tuple[str, str], np.ndarray]:
    """The AUROC of every unit for Danish against each other language, by kind of text and language."""
    found = {}
    for text in texts:
        area = testing.auroc_table(table_of(units, text, site))
        for code in area.languages:
            if code != TARGET:
                found[text.kind, code] = area.of(TARGET, code)
    return found


def row(
    units: Latents | Neurons | Directions, tune: list[Text], test: list[Text], site: Site, chosen: int = OFF
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """What the best unit on `tune` does on `test`, how many units pass on both, and the first few units."""
    on_tune, on_test = areas(units, tune, site), areas(units, test, site)
    least, shown = (np.min(list(found.values()), axis=0) for found in (on_tune, on_test))
    order = np.argsort(-least, kind="stable")
    best = int(order[0])
    passing = least >= MINIMUM
    return {
        "units": len(least),
        "passing": int(passing.sum()),
        "again": int((passing & (shown >= MINIMUM)).sum()),
        "best": units.name(best),
        "tune": float(least[best]),
        "test": float(shown[best]),
        "of": {f"{kind}, {code}": float(values[best]) for (kind, code), values in on_test.items()},
    }, tuple(order[:chosen].tolist())


def steps(x: Tensor, seed: int) -> Iterator[Tensor]:
    """Batches of all epochs, each in its own order."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for places in torch.randperm(len(x), generator=generator).split(BATCH):
            yield x[places]


def off_edit(units: Latents | Neurons | Directions, chosen: tuple[int, ...], mean: Tensor) -> Edit:
    """What switches units off: latents at 0, others at the mean of the other languages."""
    if isinstance(units, Latents):
        return Edit("zero", chosen)
    if isinstance(units, Neurons):
        return Edit("mean", chosen, tuple(units.read(mean[None], chosen)[0].tolist()))
    return Edit.project_to(units, chosen[:1], mean)


def resampled_difference(
    switched: SwitchOff, trained: list[int], control: list[int]
) -> dict[str, list[float]]:
    """Trained less untrained, on average over seeds: the rise of Danish, and that less the nearest other's rise.

    Estimates with 95 % intervals over sentences and, resampled with them, over seeds.
    """
    languages = switched.tokens.corpus.languages
    draws = {code: switched.resampled(code, draws=DRAWS, seed=0) for code in languages}
    points = {code: switched.mean(code)[None] for code in languages}
    generator = np.random.default_rng(0)
    picks = [generator.choice(own, (DRAWS, len(own))) for own in (trained, control)]
    found = {}
    for what in ("target", "margin"):

        def value(changes: dict[str, np.ndarray], what: str = what) -> np.ndarray:
            others = [changes[code] for code in languages if code != TARGET]
            out: np.ndarray = changes[TARGET] - (np.max(others, axis=0) if what == "margin" else 0)
            return out

        every, point = value(draws), value(points)[0]
        means = [np.take_along_axis(every, own, axis=1).mean(1) for own in picks]
        low, high = interval(means[0] - means[1])
        found[what] = [float(point[trained].mean() - point[control].mean()), low, high]
    return found


def halves(tokens: TokenizedCorpus) -> tuple[TokenizedCorpus, TokenizedCorpus]:
    """Each language's first `TUNE` sentences, and the others."""
    first = first_of_each((s.language for s in tokens.corpus.sentences), TUNE)
    return tokens.take(first), tokens.take(sorted(set(range(len(tokens))) - set(first)))


def main(folder: Path, name: str) -> None:
    """Make the table of one model, and write it after every cell."""
    started = time.perf_counter()

    def text(source: str, languages: str, limit: int) -> Corpus:
        return corpus(source.replace("data/", f"{folder}/data/"), languages, limit)

    lm = load(str(folder / "models" / name))
    lm = habits(lm, text(TRAIN, "da en", 40))
    layers = {depth: round(share * lm.layers) for depth, share in DEPTHS.items()}
    training = tokenize(lm, text(TRAIN, "da en", 4000), max_tokens=128, prefix=lm.prefix)
    spoken = [sentence.language for sentence in training.corpus.sentences]
    training = training.take(first_of_each(spoken, TRAIN_TOKENS, [int(n) for n in training.lengths]))
    parts = {
        kind: halves(
            tokenize(lm, text(source, "da en sv de nl fr nb", TUNE + TEST), max_tokens=128, prefix=lm.prefix)
        )
        for kind, source in KINDS.items()
    }
    off_text = off_sentences({kind: own[1] for kind, own in parts.items()})
    out = HERE / name / "grid.json"
    out.parent.mkdir(exist_ok=True)
    facts: dict[str, Any] = {
        "layers": layers,
        "train_tokens": int(training.lengths.sum()),
        "epochs": EPOCHS,
        "seeds": SEEDS,
        "minimum": MINIMUM,
        "sentences": {"tune": TUNE, "test": TEST, "off": OFF_SENTENCES},
        "off": OFF,
        "off_precision": OFF_PRECISION,
        "settings": {"batch": BATCH, "nested": list(NESTED), "glossae": __version__},
        "text": training.corpus.sha256,
        "cells": len(CHANGES),
    }
    earlier, rows = kept_rows(out, facts)

    def save(own: list[dict[str, Any]]) -> None:
        rows.extend(own)
        seconds = round(earlier + time.perf_counter() - started)
        made = {"seconds": seconds, "torch_threads": torch.get_num_threads(), "rows": rows}
        write_json(out, facts | made)
        print({key: own[0].get(key) for key in (*BASE, "group")}, f"{seconds} s", flush=True)

    cells = [
        cell
        for cell in (BASE | change for change in CHANGES)
        if not any(cell.items() <= r.items() for r in rows)
    ]
    # all sites, whichever are lacking: a token that is a sink at any of them has no row
    sites = [Site(site, layer) for site in SITES for layer in layers.values()]
    with ExitStack() as keep:

        def texts(at: list[Site]) -> dict[str, list[Text]]:
            return {
                half: [
                    Text(kind, own[number], keep.enter_context(stored_activations(lm, own[number], at)))
                    for kind, own in parts.items()
                ]
                for number, half in enumerate(("tune", "test"))
            }

        if cells:
            stored = keep.enter_context(stored_activations(lm, training, sites))
            kept = texts(sites)
            print(f"passes: {time.perf_counter() - started:.0f} s", flush=True)
        for cell in cells:
            site = Site(cell["site"], layers[cell["depth"]])
            made = families(cell, site, lm.width(site), stored.read(site), kept["tune"][0])
            own, sets = [], []
            for group, seed, units, fvu, mean in made:
                found, first = row(units, kept["tune"], kept["test"], site)
                own.append({**cell, "layer": site.layer, "group": group, "seed": seed, "fvu": fvu, **found})
                step = Step(units, off_edit(units, first, mean))
                sets.append(UnitSet(group, units, first, seed=seed, sweep=[step]))
            if DEPTHS[cell["depth"]] >= DEPTHS[BASE["depth"]]:
                off(lm, site, own, sets, off_text)
            save(own)
        if not any(r["group"] == "LAPE" for r in rows):
            save([lape_row(lm, parts["Europarl"][0], texts, off_text)])


def kept_rows(out: Path, facts: dict[str, Any]) -> tuple[float, list[dict[str, Any]]]:
    """The seconds and rows of a table that was made with the same settings and text; a table of others is no start."""
    if not out.is_file():
        return 0.0, []
    found = json.loads(out.read_text(encoding="utf-8"))
    if other := [key for key, value in facts.items() if found.get(key) != value]:
        raise SystemExit(
            f"{out}: was made with other {', '.join(other)}; move it away to make the table anew"
        )
    return found["seconds"], found["rows"]


def families(
    cell: dict[str, Any], site: Site, width: int, x: Tensor, europarl: Text
) -> Iterator[tuple[str, int, Latents | Neurons | Directions, float | None, Tensor]]:
    """Each family of units of a cell: its group, seed, units, FVU on training text and the other languages' mean."""
    spoken = [europarl.tokens.corpus.sentences[i].language for i in europarl.stored.sentence.tolist()]
    moments = Moments.of(europarl.stored.read(site).float(), np.array(spoken), site=site)
    others = [code for code in europarl.tokens.corpus.languages if code != TARGET]
    mean = torch.stack([moments.mean(code) for code in others]).mean(0).float()
    config = sae_config(cell, site, width)
    for seed in range(SEEDS):
        settings = TrainSettings(steps=-(-len(x) // BATCH) * EPOCHS, tokens=len(x) * EPOCHS, seed=seed)
        sae, log = train(config, steps(x, seed), settings)
        fitted = float(np.mean([point.fvu for point in log[-10:]]))
        yield "trained", seed, Latents(sae.requires_grad_(False)), fitted, mean
        control = untrained(config, x[:1024].float(), seed=seed).requires_grad_(False)
        yield "untrained", seed, Latents(control), None, mean
    if all(cell[key] == BASE[key] for key in ("latents", "k", "kind")):
        yield "coordinates", 0, Neurons(site, width, signed=site.name != "mlp.hidden"), None, mean
        yield "difference of means", 0, difference_of_means(moments, TARGET), None, mean


def lape_row(
    lm: LanguageModel, tokens: TokenizedCorpus, texts: Any, off_text: TokenizedCorpus
) -> dict[str, Any]:
    """The row of the best LAPE neurons of the whole model (read at every `mlp.hidden`)."""
    neurons = lape(lm, tokens, target=TARGET)
    found: dict[str, Any] = {"site": "mlp.hidden", "depth": None, "layer": None, "group": "LAPE", "seed": 0}
    best = neurons.ranked[:OFF]
    found |= {"units": len(neurons.ranked)}
    if not best:
        return found
    layer, unit = best[0]
    at = Site("mlp.hidden", layer)
    on = {half: areas(Neurons(at, lm.width(at)), own, at) for half, own in texts([at]).items()}
    found |= {"layer": layer, "best": f"{layer}.{unit}"}
    found |= {half: float(min(values[unit] for values in own.values())) for half, own in on.items()}
    found["of"] = {f"{kind}, {code}": float(v[unit]) for (kind, code), v in on["test"].items()}
    off(
        lm,
        at,
        [found],
        [UnitSet("LAPE", layers=neurons.best(OFF))],
        off_text,
    )
    return found


def off(
    lm: LanguageModel, site: Site, rows: list[dict[str, Any]], sets: list[UnitSet], text: TokenizedCorpus
) -> None:
    """Switch the sets of some rows off, and write into each what that costs, and into trained ones what they add."""
    switched = switch_off(lm, site, sets, text, precision=OFF_PRECISION, seed=0)
    draws = {code: switched.resampled(code, draws=DRAWS, seed=0) for code in switched.tokens.corpus.languages}
    for place, each in enumerate(rows):
        each["off"] = {
            code: [float(switched.mean(code)[place]), *interval(own[:, place])] for code, own in draws.items()
        }
    trained, control = (
        [place for place, each in enumerate(sets) if each.name == group] for group in ("trained", "untrained")
    )
    for place in trained:
        rows[place]["adds"] = resampled_difference(switched, trained, control)


def off_sentences(test: dict[str, TokenizedCorpus]) -> TokenizedCorpus:
    """The text that units are switched off on: treebanks, and Europarl for the languages they lack."""
    spoken = {kind: [s.language for s in test[kind].corpus.sentences] for kind in ("treebanks", "Europarl")}
    places = {kind: first_of_each(codes, OFF_SENTENCES) for kind, codes in spoken.items()}
    lacking = [n for n in places["Europarl"] if spoken["Europarl"][n] not in spoken["treebanks"]]
    first, second = test["treebanks"].take(places["treebanks"]), test["Europarl"].take(lacking)
    return TokenizedCorpus(
        corpus=Corpus.of([*first.corpus.sentences, *second.corpus.sentences]),
        ids=first.ids + second.ids,
        predicted_bytes=np.concatenate([first.predicted_bytes, second.predicted_bytes]),
        dropped={},
        cut={},
        prefix=first.prefix,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
