"""Run folders made up from a seed: the files of a run, consistent with one another, without any model."""

import contextlib
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from glossae.paper.published import published_figures
from glossae.recipe import Corpora, Effects, Languages, Probe, Recipe, Report, SaeSettings
from glossae.reporting import write_report
from glossae.reporting.exhibits import Exhibit, Table
from glossae.results import GridCell, Result
from glossae.sae import choose, fronts
from recorded import record

Kind = TypeVar("Kind", bound=Result)

VALUES = (-8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0)
LATENTS = 200
CASES = ("found", "fallback", "unselective", "empty", "published")
STAGES = ("corpora", "probe", "grid", "sae", "features", "effects")

PUBLISHED = published_figures().to_json()


# ---- what tests read


def plain(text: str) -> str:
    """`text` with ordinary spaces and minus signs."""
    return re.sub("[\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}]", " ", text).replace("\N{MINUS SIGN}", "-")


def tables(exhibits: Iterable[Exhibit]) -> dict[str, list[dict[str, str]]]:
    """The tables among some exhibits, by label: the texts of their cells by column, what is below after a slash."""
    return {
        one.label: [
            {
                title: plain(cell.text + (f" / {cell.below}" if cell.below else ""))
                for title, cell in line.items()
            }
            for line in one.rows
        ]
        for one in exhibits
        if isinstance(one, Table)
    }


def page_of(folder: Path, **sections: Any) -> str:
    """The page of a run, drawn with other sections in its results."""
    change_results(folder, **sections)
    return write_report(folder).read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """The words of a piece of a page, without tags and line breaks."""
    return " ".join(plain(html.unescape(re.sub(r"<[^>]+>", " ", re.sub("</?code>", "", page)))).split())


# ---- what tests write


def filled(kind: type[Kind], /, **given: Any) -> Kind:
    """A result with these values; what else it needs is None, 0, or empty."""

    def nothing(field: FieldInfo) -> Any:
        of = TypeAdapter(field.annotation)
        for value in (None, 0, "", [], {}):
            with contextlib.suppress(ValidationError):
                return of.validate_python(value)
        raise AssertionError(f"no empty {field.annotation}")

    lacking = {
        name: nothing(field)
        for name, field in kind.model_fields.items()
        if field.is_required() and name not in given
    }
    return kind(**lacking | given)


def row(names: str, *values: Any, **more: Any) -> dict[str, Any]:
    """A row of results.json from names in one string and as many values."""
    return dict(zip(names.split(), values, strict=True)) | more


def evidence(**changes: Any) -> dict[str, Any]:
    """`evidence` of results.json with nothing in its lists but what is given."""
    lists = (
        "panels claims units replication calibration matrix matched matched_claims unambiguous identification"
    )
    nothing: dict[str, Any] = {name: [] for name in lists.split()}
    own = row("reason minimum q method tokens scores", None, 0.8, 0.05, "exact", 1, None)
    return own | nothing | {"within_source": {"apart": [], "rows": []}} | changes


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
    made = _Made(case, ("da", "en", *others), np.random.default_rng(7))
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
    done = STAGES[: STAGES.index(until) + 1]
    results = {
        "corpora": made.corpora(),
        "probe": made.probe(model),
        "grid": made.grid(),
        "sae": made.sae(),
        "features": made.features(),
        "next_token": {
            "cells": made.cells(),
            "selectivity": made.selectivity(),
            "chosen": made.chosen(),
        },
        "generation": made.generation(prompt),
    }
    stage_of = {"next_token": "effects", "generation": "effects"}
    results = {key: value if stage_of.get(key, key) in done else None for key, value in results.items()}
    published = PUBLISHED if case == "published" else None
    head = row(
        "recipe protocol model seed schema_version tasks published",
        *(recipe.name, recipe.protocol, model, 0, 3, None, published),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    _write(folder / "results.json", head | results)
    _write(folder / "run.json", made.run(done))
    if "sae" in done:
        _write_table(folder / "sae" / "log.parquet", made.log())
    if "features" in done:
        _write_table(folder / "features" / "statistics.parquet", made.statistics())
        _write_table(folder / "features" / "histograms.parquet", made.histograms())
        _write(folder / "features" / "texts.json", made.texts(tokens))
    record(folder)
    return folder


def change_results(folder: Path, **sections: Any) -> None:
    """Put other sections into a run's results."""
    _write(folder / "results.json", results_of(folder) | sections)
    record(folder)


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
    rises, margin = other > 0.02 * at, at - other
    found = {"target_delta": at, "other_delta": other}
    found |= {"margin": margin, "margin_low": margin - 0.02, "margin_high": margin + 0.02}
    found = {name.replace("delta", f"delta{unit}"): value for name, value in found.items()}
    found = {name.replace("margin", f"margin{unit}"): value for name, value in found.items()}
    return found | {
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
        names = "role name language sentences tokens read cut documents sha256 dropped changed moved"
        return [
            row(
                names,
                *(role, "toy", code, count, 20 * count, count + 10, 1, None),
                f"{role}{code}".encode().hex().ljust(64, "0"),
                *({"duplicate": 3, "too_long": 0}, {"nfc": 2}, {"select": 7} if role == "train" else {}),
            )
            for role, count in (("train", 1400), ("select", 300), ("tune", 60), ("test", 240))
            for code in self.languages
        ]

    def probe(self, model: str) -> dict[str, Any]:
        names = [model, "models/other"] if self.case == "published" else [model]
        cells, layers = [], []
        for name in names:
            for layer in range(4):
                critical, bce = 0.6 + 0.9 * layer, 0.4 - 0.1 * layer
                own = row("model layer bce bce_se", name, layer, bce, 0.01)
                critical_lambda = {"critical_lambda": critical}
                layers.append(own | {"bce_sd": 0.02} | critical_lambda)
                for seed in range(3):
                    for penalty in (0.1, 1.0, 10.0, 0.1 * critical):
                        dead = penalty >= critical
                        accuracy = 0.55 if dead else 0.98 - 0.05 * (3 - layer) - 0.04 * penalty
                        cells.append(
                            own
                            | critical_lambda
                            | row("tokens standardised subgradient", 2000, True, 0.0)
                            | row("lambda seed accuracy", penalty, seed, accuracy + 0.002 * seed)
                            | row("bce norm", *((0.693, 0.0) if dead else (bce, 1.0 / penalty)))
                            | row("collapsed rule accuracy_se", dead, penalty == 0.1 * critical, 0.004)
                        )
        agreement = [row("model scores lambda spearman seeds", name, "rule", None, 0.8, 3) for name in names]
        return {
            "site": "resid",
            "best_layer": 3,
            "rule": "the earliest layer within one standard error of the best",
            **{"cells": cells, "layers": layers, "agreement": agreement, "as_coded": None},
            **{"layer_used": 2, "chosen_by": "recipe", "nearest": None, "only_pair": None},
            "pair": {"layer": 3, "rule": "the earliest layer within one standard error of the best"},
        }

    def grid(self) -> dict[str, Any]:
        """The paper's grid with a little noise, or a smaller one like it."""
        rng = np.random.default_rng(3)
        small = (2, 30, 100, 0.0005, 0.005)
        cells = []
        for place, theirs in enumerate(PUBLISHED["grid"]["cells"]):
            if self.case != "published" and (theirs["k"] or theirs["l1"]) not in small:
                continue
            fvu, mse, active = rng.uniform(0.95, 1.05, 3) * [11 * theirs["mse"], theirs["mse"], 1]
            active *= theirs["active_per_batch"]
            cells.append(
                GridCell(
                    **theirs | {"mse": float(mse), "active_per_batch": float(active)},
                    fvu={code: float(fvu * (1 + 0.05 * n)) for n, code in enumerate(self.languages)},
                    l0_select=theirs["l0"],
                    dead_fraction=max(0.0, 0.8 - theirs["active_per_batch"] / 2000) if place else 1.0,
                )
            )
        where = row("model site layer d_in latents", "EleutherAI/pythia-14m", "resid", 3, 512, 2048)
        return where | {
            **{"train_tokens": 56_000, "steps": 70, "tokens": 12_000},
            "cells": [cell.to_json() for cell in cells],
            "pareto": [front.to_json() for front in fronts(cells, ("da", "en"))],
            "chosen": choose(cells, ("da", "en"), 32).to_json(),
        }

    def sae(self) -> dict[str, Any]:
        names = "raw spliced ablated recovered sentences tokens half_width"
        ce = {code: row(names, 3.0, 3.12, 6.0, 0.96, 256, 4_000, 0.018) for code in self.languages}
        ce["en"]["recovered"] = None

        def by_language(start: float) -> dict[str, float]:
            return {code: start + 0.02 * place for place, code in enumerate(self.languages)}

        return {
            **row("site layer d_in latents activation k", "resid", 2, 64, LATENTS, "topk", 8),
            **row("from from_commit", None, None),
            **row("tokens train_tokens l0 dead_fraction", 12_000, 56_000, 7.9, 0.032),
            **row("fvu fvu_within fvu_normalised", *map(by_language, (0.1, 0.15, 0.17))),
            **row("top_direction top_tokens unsound sinks ce", 0.21, 0.04, [], {}, ce),
        }

    def features(self) -> dict[str, Any]:
        return {
            "rule": {"found": "paper", "published": "paper", "empty": "none"}.get(self.case, "fallback"),
            "units": [self._unit(unit) for unit in self.selected],
            "nearest": [self._unit(unit) for unit in self.nearest],
            "thresholds": {"min_target": 0.5, "max_reference": 0.01, "max_reference_fallback": 0.02},
            **row("selected_on tokens sentences", None, *2 * [dict.fromkeys(self.languages, 9_000)]),
        }

    def _unit(self, unit: int) -> dict[str, Any]:
        return {
            **row("unit kind token_auroc sentence_auroc q_value", unit, "latent", 0.97, None, None),
            "rate": {code: float(self.rates[code][unit]) for code in self.languages},
            "mean": {code: 2.5 if code == "da" else 0.1 for code in self.languages},
            "mean_active": {code: 3.1 if code == "da" else 0.0 for code in self.languages},
            "max_active": {code: 6.0 if code == "da" else 0.0 for code in self.languages},
        }

    def delta(self, language: str, value: float, splice: bool) -> float:
        """How far a loss moves; in the unselective case the reference's as far as the target's."""
        if self.case == "found" and language == "en":
            return 0.0012 * value
        share = {"da": 1.0, "sv": 0.5}.get(language, 0.9 if self.case == "unselective" else 0.1)
        return share * (0.006 * (value - 3) ** 2 - 0.054) * (1.1 if splice else 1.0) + (
            0.06 if value != 3 else 0
        )

    def cells(self) -> list[dict[str, Any]]:
        edits: list[tuple[str, bool | None, float | None]] = [("raw", None, None)]
        for splice in (True, False):
            edits.append(("none", splice, None))
            if self.selected:
                edits += [*(("set", splice, value) for value in VALUES), ("mean", splice, None)]
        cells = []
        for code in self.languages:
            for source in ("toy", "all"):
                for edit, splice, value in edits:
                    moved = self.delta(code, value, bool(splice)) if value is not None else 0.0
                    ce = (3.0 if code == "da" else 3.7) + (0.12 if splice else 0.0) + moved
                    spread = 0.02 if value is not None else 0.0
                    cells.append(
                        row("units kind edit splice value", "da", "latent", edit, splice, value)
                        | row("language source ce ce_per_byte delta", code, source, ce, ce / 3.3, moved)
                        | row("ci_low ci_high tokens sentences", moved - spread, moved + spread, 4800, 240)
                        | row(
                            "delta_per_byte byte_ci_low byte_ci_high",
                            moved / 3.3,
                            *(moved - spread, moved + spread),
                        )
                        | {"in_range": None if value is None else 0 <= value <= 5}
                    )
        return cells

    def chosen(self) -> list[dict[str, Any]]:
        """As many latents pass without training as with it."""
        names = "units seed language asked rule passing of text members means"
        who = [("da", None), *((f"random weights {seed + 1}", seed) for seed in range(3))]
        more = ("da", "paper", "paper", 3, 64, "0" * 64, [1, 2, 3], [0.1, 0.2, 0.3])
        return [row(names, *each, *more) for each in who]

    def selectivity(self) -> list[dict[str, Any]]:
        if not self.selected:
            return []
        rows = []
        for splice in (False, True):
            for at in (0.1, 0.3):
                for versus in self.languages[1:]:
                    value = 3 - float(np.sqrt((at - 0.006) / (0.006 * (1.1 if splice else 1.0))))
                    other = self.delta(versus, value, splice)
                    rows.append(
                        row("units kind edit splice at versus", "da", "latent", "set", splice, at, versus)
                        | {"text": "test", "reached": True, "value": None if value > 0 else value}
                        | _compared(at, other, "")
                        | _compared(at / 4, other / 4, "_per_byte")
                    )
        return rows

    def generation(self, prompt: str) -> list[dict[str, Any]]:
        arms: list[tuple[str, float | None, str]] = [("raw", None, " en kop kaffe.")]
        if self.selected:
            arms += [("set", -8.0, " the the the"), ("set", 4.0, " en kop kaffe.")]
        prompts = (("da", prompt), ("en", "Every thursday she eats"))
        return [
            row("prompt language units edit value text", words, code, "da", *arm)
            for arm in arms
            for code, words in prompts
        ]

    def run(self, done: tuple[str, ...]) -> dict[str, Any]:
        facts = row("seconds peak_memory_mb fingerprint", 12.5, 812.0, "0123456789abcdef")
        return {
            **row("glossae device dtype threads seed model_commit", "0.1.0", "cpu", "float32", 2, 0, None),
            "versions": {"python": "3.11.0", "torch": "2.13.0"},
            "stages": dict.fromkeys(done, facts),
            "cuts": {"select": "select is 30 % of train, cut by pair"},
            "translations_may_straddle": self.case == "fallback",
        }

    def log(self) -> pd.DataFrame:
        steps = np.arange(60)
        return pd.DataFrame(
            {
                **row("step tokens lr l0", steps, (steps + 1) * 1024, 1e-3, 8.0),
                "fvu": 0.8 * np.exp(-steps / 12) + 0.12,
                "active_per_batch": 150 - steps,
                "dead_fraction": 0.3 * np.exp(-steps / 20),
            }
        )

    def statistics(self) -> pd.DataFrame:
        rates = [
            (unit, code, float(self.rates[code][unit])) for code in self.languages for unit in range(LATENTS)
        ]
        return pd.DataFrame(rates, columns=["unit", "language", "rate"])

    def histograms(self) -> pd.DataFrame:
        edges = np.linspace(-2, 6, 41)
        parts = []
        for unit in self.nearest:
            for code in self.languages:
                counts, _ = np.histogram(self.rng.normal(2.5 if code == "da" else 0.1, 0.9, 3000), edges)
                bins = row("left right count", edges[:-1], edges[1:], counts)
                parts.append(pd.DataFrame({"unit": unit, "language": code} | bins))
        return pd.concat(parts, ignore_index=True)

    def texts(self, tokens: tuple[str, ...]) -> list[dict[str, Any]]:
        texts = []
        for pair in ("pair 1", "pair 2"):
            for code in ("en", "da"):
                words = list(tokens) if code == "da" else ["A", " dog", " runs", "", "."]
                pre = self.rng.normal(3 if code == "da" else 0, 1, len(words)).tolist()
                own = {"pre": pre, "fires": [value > 1.5 for value in pre]}
                units = {str(unit): own for unit in self.nearest}
                texts.append(row("pair source language tokens units", pair, "toy", code, words, units))
        return texts


def replayed(model: str, penalties: tuple[float, ...] = (0.1, 1.0, 10.0)) -> list[dict[str, Any]]:
    """`probe.as_coded` for four layers whose optimum is zero at lambdas of 1 and more."""
    names = "collapsed accuracy accuracy_low accuracy_high norm optimum_norm"
    dead, alive = (True, 0.7, 0.31, 0.913, 0.0034, 0.0), (False, 0.9, 0.88, 0.92, 0.8, 1.9)
    return [
        row("model layer lambda constant batches seeds", model, layer, penalty, 0.523, 501, 3)
        | row("accuracy_se bce critical_lambda", 0.01, 0.69, 0.9)
        | row(names, *(dead if penalty >= 1 else alive))
        for layer in range(4)
        for penalty in penalties
    ]
