"""Known truth: false discoveries and power on planted worlds, for features given exactly and for latents between.

    python benchmarks/planted.py [--seeds 20] [--sentences 600] [--sae] [--sae-seeds 3] [--json]

A seed is a world of its own (`planted_world.PlantedWorld`: its docstring is the generative model). A claim is "these
units are for language l", tested by `units_evidence` and scored against the population's AUROC; "groups" are the claims
about several languages that the panel allows. FDP is the false discovery proportion, whose mean is the FDR, and power
the share of true features found; both are averaged over a seed's claims, and standard errors are over seeds.

- `translations`: every sentence is translated into every language; `independent`: none is.
- `crowded`: only the units on which it is close are tested: for each language its own features, some barely above the
  minimum, and four times as many whose AUROC against one language is the minimum itself, less 1e-4.
- `shuffled`: labels dealt out anew (within each group of translations), so that every discovery is false. The column
  "any" is the share of claims with a discovery, which then is the FDR.

With `--sae` an autoencoder of `--expansion` times d_in latents is trained on other sentences of the same world, and
its latents are what is tested. There are several ways to say which of those are true, so all are reported.
"""

import argparse
import dataclasses
import itertools
import json
import math
import time
from collections import defaultdict

import numpy as np
import torch

from glossae.evidence.testing import Evidence, minimum_p, q_values, units_evidence
from glossae.units import SentenceTable
from planted_latents import Scored, trained
from planted_sentences import draw_sentences, score
from planted_world import Kinds, PlantedWorld

MINIMUM, LEVEL = 0.8, 0.05
METHODS = ("exact", "studentised")
BANDS = (0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.95, 1.0)
CROWDED = Kinds(single=24, groups=0, around=0, sibling=96, together=0, strength=(0.8005, 0.995))
TESTED = 0

Comparisons = tuple[tuple[str, str], ...]


class Tally:
    """Numbers by row and column, one a seed."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, row: str, claims: list[dict[str, float]]) -> None:
        """One seed's claims."""
        for column in claims[0]:
            self.of[row][column].append(float(np.nanmean([claim[column] for claim in claims])))

    def mean(self, row: str, column: str) -> tuple[float, float | None]:
        """The mean over seeds and its standard error; None with a single seed."""
        values = np.array(self.of[row][column])
        error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
        return float(values.mean()), error

    def show(self, *columns: str) -> None:
        """A table: mean and standard error."""
        width = max(len(row) for row in self.of) + 2
        print(" " * width + "".join(f"{column:>18}" for column in columns))
        for row, found in self.of.items():
            cells = []
            for column in columns:
                mean, error = self.mean(row, column) if column in found else (None, None)
                cell = (
                    "" if mean is None else f"{mean:.4f}" + (f" ± {error:.4f}" if error is not None else "")
                )
                cells.append(f"{cell:>18}")
            print(f"{row:{width}}" + "".join(cells), flush=True)

    def json(self) -> dict[str, dict[str, tuple[float, float | None]]]:
        """The same for programs: `[mean, standard error]`."""
        return {row: {column: self.mean(row, column) for column in found} for row, found in self.of.items()}


class Bands:
    """How many features of which strength were found, and how many near misses were taken for more."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, np.ndarray]] = defaultdict(lambda: defaultdict(lambda: np.zeros(2, int)))

    def add(self, row: str, selected: np.ndarray, weakest: np.ndarray, kind: np.ndarray) -> None:
        """One claim; kind is empty for features that are not near misses of it."""
        hit = np.isin(np.arange(len(weakest)), selected)
        parts = {
            f"{low}-{high}": (weakest > low) & (weakest <= high) for low, high in itertools.pairwise(BANDS)
        }
        parts |= {f"miss: {name}": (kind == name) & (weakest <= MINIMUM) for name in ("sibling", "around")}
        for name, inside in parts.items():
            self.of[row][name] += [int(hit[inside].sum()), int(inside.sum())]

    def show(self) -> None:
        """A table of shares and numbers."""
        width = max(len(row) for row in self.of) + 2
        print(" " * width + "".join(f"{column:>15}" for column in next(iter(self.of.values()))))
        for row, found in self.of.items():
            cells = [f"{hit / there:.3f}/{there}" if there else "" for hit, there in found.values()]
            print(f"{row:{width}}" + "".join(f"{cell:>15}" for cell in cells), flush=True)

    def json(self) -> dict[str, dict[str, list[int]]]:
        """The same for programs: `[found, there]`."""
        return {row: {name: part.tolist() for name, part in found.items()} for row, found in self.of.items()}


def select(evidence: Evidence, comparisons: Comparisons, method: str, minimum: float = MINIMUM) -> np.ndarray:
    """The units that pass a claim by any method and minimum, from the AUROC that was tested already."""
    p = [minimum_p(evidence.auroc, a, b, minimum, method=method) for a, b in comparisons]
    return np.flatnonzero(q_values(np.max(p, axis=0)) <= LEVEL)


def scored(selected: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """One claim."""
    found = score(selected, truth)
    return {
        "FDP": found.fdp,
        "power": found.power,
        "discoveries": found.discoveries,
        "true": found.truths,
        "any": float(found.false > 0),
    }


def misses_of(world: PlantedWorld, language: str) -> np.ndarray:
    """The kind of each near miss of a language, and nothing for other features."""
    return np.where(world.profiles.home == world.codes.index(language), world.kind, "")


def all_features(world: PlantedWorld, table: SentenceTable, name: str, tally: Tally, bands: Bands) -> None:
    """Every claim about every language over all features."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    wide: dict[Comparisons, Evidence] = {}
    for language in world.codes:
        evidence = units_evidence(table, language, minimum=MINIMUM, q=LEVEL, method="exact")
        own, *groups = [one.claim for one in evidence.claims]
        weakest = world.weakest(own.comparisons)
        for method in METHODS:
            selected = select(evidence, own.comparisons, method)
            assert method != "exact" or set(selected.tolist()) == set(evidence.passing(own.name))
            rows[method].append(scored(selected, weakest > MINIMUM))
            bands.add(f"{name}, {method}", selected, weakest, misses_of(world, language))
        # languages of one group ask for the same claims
        wide |= {claim.comparisons: evidence for claim in groups}
    for method in METHODS:
        tally.add(f"{name}, {method}", rows[method])
        truths = {comparisons: world.truth(comparisons, MINIMUM) for comparisons in wide}
        shared = [
            scored(select(e, comparisons, method), truths[comparisons]) for comparisons, e in wide.items()
        ]
        tally.add(f"{name}, {method}, groups", shared)


def crowded(seed: int, sentences: int, paired: bool, name: str, tally: Tally, bands: Bands) -> None:
    """Only the features on which it is close, language by language."""
    world = PlantedWorld(seed=seed, kinds=CROWDED)
    table = draw_sentences(world, sentences, TESTED, paired=paired).table()
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for language in world.codes:
        kind = misses_of(world, language)
        close = np.flatnonzero((kind == "single") | (kind == "sibling"))
        evidence = units_evidence(table.columns(close), language, minimum=MINIMUM, q=LEVEL)
        comparisons = evidence.claims[0].claim.comparisons
        weakest = world.weakest(comparisons)[close]
        for method in METHODS:
            selected = select(evidence, comparisons, method)
            rows[method].append(scored(selected, weakest > MINIMUM))
            bands.add(f"{name}, crowded, {method}", selected, weakest, kind[close])
    for method in METHODS:
        tally.add(f"{name}, crowded, {method}", rows[method])


def no_difference(table: SentenceTable, paired: bool, name: str, tally: Tally, seed: int) -> None:
    """Labels dealt out anew."""
    random = np.random.default_rng([seed, 99])
    groups = table.languages.reshape(-1, len(table.present))
    labels = random.permuted(groups, axis=1).reshape(-1) if paired else random.permutation(table.languages)
    dealt = dataclasses.replace(table, languages=labels)
    nothing = np.zeros(table.units, dtype=bool)
    evidences = [units_evidence(dealt, language, minimum=MINIMUM, q=LEVEL) for language in dealt.present]
    for minimum, method in itertools.product((0.5, MINIMUM), METHODS):
        selected = [select(e, e.claims[0].claim.comparisons, method, minimum) for e in evidences]
        rows = [{c: scored(s, nothing)[c] for c in ("FDP", "discoveries", "any")} for s in selected]
        tally.add(f"{name}, shuffled, minimum {minimum}, {method}", rows)


def between(arguments: argparse.Namespace, seed: int, tally: Tally) -> dict[str, float | dict[str, int]]:
    """One autoencoder, and every language's claim on its latents."""
    world, started = PlantedWorld(seed=seed, aligned=arguments.aligned), time.monotonic()
    sae, fvu = trained(world, arguments.tokens, arguments.expansion * world.d_in, arguments.k, seed)
    seconds = time.monotonic() - started
    latents = Scored(world, sae, arguments.fresh)
    table = latents.table(arguments.sentences, TESTED)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    wrong: dict[str, int] = defaultdict(int)
    for language in world.codes:
        evidence = units_evidence(table, language, minimum=MINIMUM, q=LEVEL)
        comparisons = evidence.claims[0].claim.comparisons
        fresh = units_evidence(latents.large, language, minimum=MINIMUM, q=LEVEL).auroc
        own = np.min([fresh.of(a, b) for a, b in comparisons], axis=0)
        for method in METHODS:
            selected = select(evidence, comparisons, method)
            for way, found in latents.rows(language, selected, own, MINIMUM).items():
                rows[f"{method}: {way}"].append(found)
            if method == "exact":
                for what, count in latents.why(language, selected, own, MINIMUM).items():
                    wrong[what] += count
    for row, claims in sorted(rows.items()):
        tally.add(row, claims)
    return {"FVU": fvu, "seconds of training": seconds} | latents.recovered(MINIMUM) | {"false": dict(wrong)}


def main() -> None:
    """Every seed, then the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sentences", type=int, default=600, help="of each language")
    parser.add_argument("--sae", action="store_true", help="also through trained autoencoders")
    parser.add_argument("--sae-seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=400_000, help="that an autoencoder is trained on")
    parser.add_argument("--expansion", type=int, default=4)
    parser.add_argument("--k", type=int, default=40)
    parser.add_argument("--fresh", type=int, default=3000, help="sentences for the latents' own truth")
    parser.add_argument("--aligned", type=float, default=0.0, help="cosine of the directions of one topic")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    exact, bands, latents, l0, started = Tally(), Bands(), Tally(), [], time.monotonic()
    for seed in range(arguments.seeds):
        world = PlantedWorld(seed=seed)
        l0.append(float(world.token_rates.sum(0).mean()))
        for name, paired in (("translations", True), ("independent", False)):
            table = draw_sentences(world, arguments.sentences, TESTED, paired=paired).table()
            all_features(world, table, name, exact, bands)
            crowded(seed, arguments.sentences, paired, name, exact, bands)
            no_difference(table, paired, name, exact, seed)
    if arguments.seeds:
        print(
            f"{arguments.seeds} worlds: {world.features} features in {world.d_in} dimensions, {world.languages} "
            f"languages, {arguments.sentences} sentences of each, {np.mean(l0):.1f} features at a token; "
            f"minimum {MINIMUM}, q {LEVEL}; {time.monotonic() - started:.0f} s"
        )
        exact.show("FDP", "power", "discoveries", "true", "any")
        print(
            "\nfound of how many, by population AUROC against the nearest language; near misses taken for more"
        )
        bands.show()
    fits = [between(arguments, seed, latents) for seed in range(arguments.sae_seeds * arguments.sae)]
    if fits:
        print(
            f"\n{len(fits)} autoencoders of {arguments.expansion * 512} latents, k {arguments.k}, {arguments.tokens:,} "
            f"tokens; directions of one topic at cosine {arguments.aligned}; translations"
        )
        latents.show("FDP", "power", "discoveries")
        for column in fits[0]:
            values = [fit[column] for fit in fits]
            print(
                f"  {column:36} " + "  ".join(str(v) if isinstance(v, dict) else f"{v:.3f}" for v in values)
            )
    if arguments.json:
        tables = {
            "exact": exact.json(),
            "bands": bands.json(),
            "latents": latents.json(),
            "autoencoders": fits,
        }
        print(json.dumps({"arguments": vars(arguments), "l0": l0} | tables))


if __name__ == "__main__":
    main()
