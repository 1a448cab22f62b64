"""Run folders made up from a seed: the files of a run, consistent with one another, without any model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glossae.paper.published import published_figures
from glossae.recipe import Corpora, Effects, Languages, Probe, Recipe, Report, SaeSettings
from glossae.sae import GridCell, choose, fronts

VALUES = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0)
LATENTS = 200
CASES = ("found", "fallback", "unselective", "empty", "published")

PUBLISHED = {
    "grid": published_figures()["grid"],
    "selected_units": [20680, 26335, 27584],
    "next_token": {
        "source": "ELRC_2923",
        "values": [-8, -6, -4, -2, 0, 2, 4, 6, 8],
        "da": [4.24, 3.68, 3.31, 3.09, 2.96, 2.90, 2.89, 2.92, 3.01],
        "en": [4.15, 3.99, 3.88, 3.81, 3.77, 3.77, 3.81, 3.87, 3.96],
        "no_modification": {"da": 2.94, "en": 3.77},
    },
    "tasks": {
        "metric": "weighted F1",
        "values": [-8, 0, 8],
        "angry-tweets": [0.547, 0.596, 0.590],
        "no_modification": {"angry-tweets": 0.607},
    },
}


def fabricate(
    folder: Path,
    case: str = "found",
    *,
    model: str = "models/tiny",
    tokens: tuple[str, ...] = ("En", " hund", " løber", " i", " parken", "."),
    prompt: str = "Hver torsdag spiser hun",
    others: tuple[str, ...] = ("sv", "de"),
    until: str = "effects",
) -> Path:
    """Write a run of one of `CASES` into `folder`, up to and including the stage `until`."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    made = _Made(case, ("da", "en", *others), rng)
    recipe = Recipe(
        name="paper" if case == "published" else "made",
        model=model,
        site="resid",
        layer=2,
        languages=Languages(others=others),
        corpora=Corpora(train="toy"),
        probe=Probe(lambdas=(0.1, 1.0, 10.0)),
        sae=SaeSettings(latents=LATENTS, k=8),
        effects=Effects(values=VALUES),
        report=Report(texts=2),
    )
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    stages = ("corpora", "probe", "grid", "sae", "features", "effects")
    done = stages[: stages.index(until) + 1]
    results: dict[str, Any] = {
        "recipe": recipe.name,
        "protocol": recipe.protocol,
        "model": model,
        "seed": 0,
        "schema_version": 2,
        "corpora": made.corpora(),
        "probe": made.probe(model) if "probe" in done else None,
        "grid": made.grid() if "grid" in done else None,
        "sae": made.sae() if "sae" in done else None,
        "features": made.features() if "features" in done else None,
        "next_token": made.next_token() if "effects" in done else None,
        "tasks": None,
        "generation": made.generation(prompt) if "effects" in done else None,
        "published": PUBLISHED if case == "published" else None,
    }
    _write(folder / "results.json", results)
    _write(folder / "run.json", made.run(done))
    if "sae" in done:
        _write_table(folder / "sae" / "log.parquet", made.log())
    if "features" in done:
        _write_table(folder / "features" / "statistics.parquet", made.statistics())
        _write_table(folder / "features" / "histograms.parquet", made.histograms())
        _write(folder / "features" / "texts.json", made.texts(tokens))
    return folder


def change_results(folder: Path, **sections: Any) -> None:
    """Put other sections into a run's results."""
    path = folder / "results.json"
    _write(path, json.loads(path.read_text(encoding="utf-8")) | sections)


def results_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")


def _write_table(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)


def _compared(at: float, other: float, unit: str) -> dict[str, float | None]:
    """Both rises, their difference and ratio; a rise that is small against its spread has a lower limit only."""
    rises = other > 0.02 * at
    return {
        f"target_delta{unit}": at,
        f"other_delta{unit}": other,
        f"margin{unit}": at - other,
        f"margin{unit}_low": at - other - 0.02,
        f"margin{unit}_high": at - other + 0.02,
        f"ratio{unit}": at / other if other > 0 else None,
        f"ratio{unit}_low": 0.9 * at / other if rises else 25.0,
        f"ratio{unit}_high": 1.2 * at / other if rises else None,
        f"ratio{unit}_least": 0.95 * at / other if rises else 30.0,
    }


class _Made:
    """The numbers of one run."""

    def __init__(self, case: str, languages: tuple[str, ...], rng: np.random.Generator) -> None:
        self.case, self.languages, self.rng = case, languages, rng
        quiet = {code: rng.beta(0.3, 12, LATENTS) for code in languages}
        # no latent of the crowd may pass the rule or the fallback
        quiet["en"] = quiet["da"] * rng.uniform(0.9, 1.6, LATENTS) + 0.003
        self.rates = quiet
        self.selected = {"found": [11, 5, 90], "published": [11, 5, 90]}.get(case, [17, 3, 44, 120])
        top = 0.9 if case in ("found", "published") else 0.26
        english = {"found": 0.004, "published": 0.004, "empty": 0.05}.get(case, 0.012)
        for place, unit in enumerate(self.selected):
            for code in languages:
                share = {"da": 1.0, "sv": 0.6, "nb": 0.7}.get(code, 0.05)
                self.rates[code][unit] = top * share * 0.9**place
            self.rates["en"][unit] = english
        self.nearest = self.selected
        if case == "empty":
            self.selected = []

    def corpora(self) -> list[dict[str, Any]]:
        return [
            {
                "role": role,
                "name": "toy",
                "language": code,
                "sentences": count,
                "tokens": 20 * count,
                "dropped": {"duplicate": 3, "too_long": 0},
                "sha256": f"{role}{code}".encode().hex().ljust(64, "0"),
                "read": count + 10,
                "changed": {"nfc": 2},
                "moved": {"select": 7} if role == "train" else {},
                "cut": 1,
            }
            for role, count in (("train", 1400), ("select", 300), ("tune", 60), ("test", 240))
            for code in self.languages
        ]

    def probe(self, model: str) -> dict[str, Any]:
        names = [model, "models/other"] if self.case == "published" else [model]
        cells, layers = [], []
        for name in names:
            for layer in range(4):
                critical = 0.6 + 0.9 * layer
                bce = 0.4 - 0.1 * layer
                layers.append(
                    {
                        "model": name,
                        "layer": layer,
                        "bce": bce,
                        "bce_se": 0.01,
                        "bce_sd": 0.02,
                        "critical_lambda": critical,
                    }
                )
                for seed in range(3):
                    for penalty in (0.1, 1.0, 10.0, 0.1 * critical):
                        rule = penalty == 0.1 * critical
                        dead = penalty >= critical
                        accuracy = 0.55 if dead else 0.98 - 0.05 * (3 - layer) - 0.04 * penalty
                        cells.append(
                            {
                                "model": name,
                                "layer": layer,
                                "lambda": penalty,
                                "seed": seed,
                                "accuracy": accuracy + 0.002 * seed,
                                "accuracy_se": 0.004,
                                "bce": 0.693 if dead else bce,
                                "bce_se": 0.01,
                                "norm": 0.0 if dead else 1.0 / penalty,
                                "collapsed": dead,
                                "critical_lambda": critical,
                                "tokens": 40_000,
                                "standardised": True,
                                "subgradient": 1e-5,
                                "rule": rule,
                            }
                        )
        return {
            "site": "resid",
            "best_layer": 3,
            "rule": "the earliest layer within one standard error of the best",
            "cells": cells,
            "layers": layers,
            "agreement": [
                {"model": name, "scores": "rule", "lambda": None, "spearman": 0.8, "seeds": 3}
                for name in names
            ],
            "as_coded": None,
            "layer_used": 2,
            "chosen_by": "recipe",
        }

    def grid(self) -> dict[str, Any]:
        """The paper's grid with a little noise, or a smaller one like it."""
        rng = np.random.default_rng(3)
        small = (2, 30, 100, 0.0005, 0.005)
        cells = []
        for place, theirs in enumerate(PUBLISHED["grid"]["cells"]):
            if self.case != "published" and (theirs["k"] or theirs["l1"]) not in small:
                continue
            noise = rng.uniform(0.95, 1.05, 3)
            fvu = 11 * theirs["mse"] * noise[0]
            cells.append(
                GridCell(
                    **theirs
                    | {
                        "mse": theirs["mse"] * noise[1],
                        "active_per_batch": theirs["active_per_batch"] * noise[2],
                    },
                    fvu={code: fvu * (1 + 0.05 * n) for n, code in enumerate(self.languages)},
                    l0_select=theirs["l0"],
                    dead_fraction=max(0.0, 0.8 - theirs["active_per_batch"] / 2000) if place else 1.0,
                )
            )
        return {
            "model": "EleutherAI/pythia-14m",
            "site": "resid",
            "layer": 3,
            "d_in": 512,
            "latents": 2048,
            "train_tokens": 56_000,
            "steps": 70,
            "tokens": 12_000,
            "cells": [dataclasses.asdict(cell) for cell in cells],
            "pareto": [dataclasses.asdict(front) for front in fronts(cells, ("da", "en"))],
            "chosen": dataclasses.asdict(choose(cells, ("da", "en"), 32)),
        }

    def sae(self) -> dict[str, Any]:
        ce = {
            code: {
                "raw": 3.0,
                "spliced": 3.12,
                "ablated": 6.0,
                "recovered": 0.96,
                "sentences": 256,
                "tokens": 4_000,
                "half_width": 0.018,
            }
            for code in self.languages
        }
        ce["en"]["recovered"] = None
        return {
            "site": "resid",
            "layer": 2,
            "d_in": 64,
            "latents": LATENTS,
            "activation": "topk",
            "k": 8,
            "tokens": 12_000,
            "train_tokens": 56_000,
            "l0": 7.9,
            "dead_fraction": 0.032,
            "fvu": {code: 0.1 + 0.02 * place for place, code in enumerate(self.languages)},
            "fvu_within": {code: 0.15 + 0.02 * place for place, code in enumerate(self.languages)},
            "fvu_normalised": {code: 0.17 + 0.02 * place for place, code in enumerate(self.languages)},
            "top_direction": 0.21,
            "top_tokens": 0.04,
            "unsound": [],
            "sinks": {},
            "ce": ce,
        }

    def features(self) -> dict[str, Any]:
        return {
            "rule": {"found": "paper", "published": "paper", "empty": "none"}.get(self.case, "fallback"),
            "da": [self._unit(unit) for unit in self.selected],
            "nearest": [self._unit(unit) for unit in self.nearest],
            "thresholds": {"min_target": 0.5, "max_reference": 0.01, "max_reference_fallback": 0.02},
            "tokens": dict.fromkeys(self.languages, 12_000),
            "sentences": dict.fromkeys(self.languages, 300),
        }

    def _unit(self, unit: int) -> dict[str, Any]:
        return {
            "unit": unit,
            "kind": "latent",
            "rate": {code: float(self.rates[code][unit]) for code in self.languages},
            "mean": {code: 2.5 if code == "da" else 0.1 for code in self.languages},
            "mean_active": {code: 3.1 if code == "da" else None for code in self.languages},
            "max_active": dict.fromkeys(self.languages, 5.0),
            "token_auroc": 0.97,
            "sentence_auroc": None,
            "q_value": None,
        }

    def delta(self, language: str, value: float, splice: bool) -> float:
        """How far a loss moves; in the unselective case the reference's as far as the target's."""
        if self.case == "found" and language == "en":
            return 0.0012 * value
        share = {"da": 1.0, "sv": 0.5}.get(language, 0.9 if self.case == "unselective" else 0.1)
        return share * (0.006 * (value - 3) ** 2 - 0.054) * (1.1 if splice else 1.0) + (
            0.06 if value != 3 else 0
        )

    def next_token(self) -> dict[str, Any]:
        cells = []
        for code in self.languages:
            raw = 3.0 if code == "da" else 3.7
            for source in ("toy", "all"):
                rows: list[tuple[str, bool | None, float | None]] = [("raw", None, None)]
                for splice in (True, False):
                    rows.append(("none", splice, None))
                    if self.selected:
                        rows += [("set", splice, value) for value in VALUES]
                        rows.append(("mean", splice, None))
                for edit, splice, value in rows:
                    moved = self.delta(code, value, bool(splice)) if value is not None else 0.0
                    base = raw + (0.12 if splice else 0.0)
                    spread = 0.02 if value is not None else 0.0
                    cells.append(
                        {
                            "units": "da",
                            "kind": "latent",
                            "edit": edit,
                            "splice": splice,
                            "value": value,
                            "language": code,
                            "source": source,
                            "ce": base + moved,
                            "ce_per_byte": (base + moved) / 3.3,
                            "delta": moved,
                            "ci_low": moved - spread,
                            "ci_high": moved + spread,
                            "tokens": 4800,
                            "sentences": 240,
                            "in_range": None if value is None else 0 <= value <= 5,
                        }
                    )
        return {
            "cells": cells,
            "selectivity": self._selectivity(),
            "chosen": self._chosen(),
            "controls": None,
        }

    def _chosen(self) -> list[dict[str, Any]]:
        """As many latents pass without training as with it."""
        row = {
            "language": "da",
            "asked": "paper",
            "rule": "paper",
            "passing": 3,
            "of": 64,
            "text": "0",
            "members": [1, 2, 3],
            "means": [0.1, 0.2, 0.3],
        }
        own = [{"units": "da", "seed": None} | row]
        return own + [{"units": f"random weights {seed + 1}", "seed": seed} | row for seed in range(3)]

    def _selectivity(self) -> list[dict[str, Any]]:
        if not self.selected:
            return []
        rows = []
        for splice in (False, True):
            for at in (0.1, 0.3):
                for versus in self.languages[1:]:
                    value = 3 - float(np.sqrt((at - 0.006) / (0.006 * (1.1 if splice else 1.0))))
                    other = self.delta(versus, value, splice)
                    rows.append(
                        {
                            "units": "da",
                            "kind": "latent",
                            "edit": "set",
                            "splice": splice,
                            "at": at,
                            "versus": versus,
                            "reached": True,
                            "value": None if value > 0 else value,
                            **_compared(at, other, ""),
                            **_compared(at / 4, other / 4, "_per_byte"),
                        }
                    )
        return rows

    def generation(self, prompt: str) -> list[dict[str, Any]]:
        arms: list[tuple[str, float | None, str]] = [("raw", None, " en kop kaffe.")]
        if self.selected:
            arms += [("set", -8.0, " the the the"), ("set", 4.0, " en kop kaffe.")]
        return [
            {"prompt": words, "language": code, "units": "da", "edit": edit, "value": value, "text": text}
            for edit, value, text in arms
            for code, words in (("da", prompt), ("en", "Every thursday she eats"))
        ]

    def run(self, done: tuple[str, ...]) -> dict[str, Any]:
        return {
            "glossae": "0.1.0",
            "versions": {"python": "3.11.0", "torch": "2.13.0"},
            "device": "cpu",
            "dtype": "float32",
            "threads": 2,
            "seed": 0,
            "model_commit": None,
            "stages": {
                stage: {"seconds": 12.5, "peak_memory_mb": 812.0, "fingerprint": "0123456789abcdef"}
                for stage in done
            },
            "cuts": {"select": "select is 30 % of train, cut by pair"},
            "translations_may_straddle": self.case == "fallback",
        }

    def log(self) -> pd.DataFrame:
        steps = np.arange(60)
        return pd.DataFrame(
            {
                "step": steps,
                "tokens": (steps + 1) * 1024,
                "lr": 1e-3,
                "mse": 0.5 * np.exp(-steps / 12) + 0.1,
                "fvu": 0.8 * np.exp(-steps / 12) + 0.12,
                "l0": 8.0,
                "active_per_batch": 150 - steps,
                "dead_fraction": 0.3 * np.exp(-steps / 20),
            }
        )

    def statistics(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {
                    "unit": unit,
                    "language": code,
                    "tokens": 12_000,
                    "fired": int(12_000 * self.rates[code][unit]),
                    "rate": float(self.rates[code][unit]),
                    "mean": 0.1,
                    "mean_active": 2.0,
                    "max_active": 5.0,
                }
                for code in self.languages
                for unit in range(LATENTS)
            ]
        )

    def histograms(self) -> pd.DataFrame:
        edges = np.linspace(-2, 6, 41)
        parts = []
        for unit in self.nearest:
            for code in self.languages:
                center = 2.5 if code == "da" else 0.1
                counts, _ = np.histogram(self.rng.normal(center, 0.9, 3000), edges)
                parts.append(
                    pd.DataFrame(
                        {
                            "unit": unit,
                            "language": code,
                            "left": edges[:-1],
                            "right": edges[1:],
                            "count": counts,
                        }
                    )
                )
        return pd.concat(parts, ignore_index=True)

    def texts(self, tokens: tuple[str, ...]) -> list[dict[str, Any]]:
        texts = []
        for pair in ("pair 1", "pair 2"):
            for code in ("en", "da"):
                words = list(tokens) if code == "da" else ["A", " dog", " runs", "", "."]
                pre = self.rng.normal(3 if code == "da" else 0, 1, len(words)).tolist()
                own = {"pre": pre, "fires": [value > 1.5 for value in pre]}
                texts.append(
                    {
                        "pair": pair,
                        "source": "toy",
                        "language": code,
                        "tokens": words,
                        "units": {str(unit): own for unit in self.nearest},
                    }
                )
        return texts


def replayed(model: str, penalties: tuple[float, ...] = (0.1, 1.0, 10.0)) -> list[dict[str, Any]]:
    """`probe.as_coded` for four layers whose optimum is zero at lambdas of 1 and more."""
    return [
        {
            "model": model,
            "layer": layer,
            "lambda": penalty,
            "accuracy": 0.7 if penalty >= 1 else 0.9,
            "accuracy_low": 0.31 if penalty >= 1 else 0.88,
            "accuracy_high": 0.913 if penalty >= 1 else 0.92,
            "accuracy_se": 0.01,
            "bce": 0.692 if penalty >= 1 else 0.2,
            "norm": 0.0034 if penalty >= 1 else 0.8,
            "optimum_norm": 0.0 if penalty >= 1 else 1.9,
            "critical_lambda": 0.8,
            "collapsed": penalty >= 1,
            "constant": 0.523,
            "batches": 501,
            "seeds": 3,
        }
        for layer in range(4)
        for penalty in penalties
    ]
