"""What `import glossae as gl` gives a notebook: load, text, probe, train, find, sweep, and what comes back.

Each function carries out stages of a run, in a temporary folder and with the settings of the recipe `find`, so its
numbers are those of `glossae run find` on the same model and text.
"""

import dataclasses
import html
import io
import json
import shlex
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from glossae.corpora import Corpus, Roles, Sentence, split_sources
from glossae.effects import Knob, UnitSet
from glossae.errors import GlossaeError, expect
from glossae.files import path_given, path_named, read_json, write_json
from glossae.languages import language_code
from glossae.lm import LanguageModel, edited, resolve_device, resolve_dtype, weight_sums, wrap_model
from glossae.lm import load as load_model
from glossae.recipe import Recipe, load_recipe
from glossae.results import EvidenceResult, Result, StageResults, UnitDashboard, read_dashboard
from glossae.run.context import Context, Show
from glossae.run.engine import roles_of, run_stage
from glossae.run.folder import RunFolder, as_rows
from glossae.sae import Sae
from glossae.stages import stage_of
from glossae.stages.sae import load_sae
from glossae.toy import toy_model

GIVEN = "given"
Values = str | Path | Sequence[str] | pd.Series | None


def load(model: Any, tokenizer: Any = None, *, device: str = "auto", dtype: str = "auto") -> LanguageModel:
    """Load a causal language model, and check that its sites are where glossae takes them to be.

    >>> lm = gl.load("toy")  # the little model that glossae ships; or "google/gemma-3-270m", or a folder
    >>> lm.layers
    4

    Args:
        model: a hub id (`ID@REVISION`), a folder, a GGUF file, `toy`, or a `transformers` model.
        tokenizer: of a model that is loaded already.
        device: `cpu`, `cuda`, `cuda:N`, `split`, or `auto`: a GPU if there is one.
        dtype: `float32`, `bfloat16`, `float16`, or `auto`.

    Raises:
        GlossaeError: there is no such model, or it cannot be used; the line says why.
    """
    if not isinstance(model, str | Path):
        return dataclasses.replace(wrap_model(model), tokenizer=tokenizer)
    expect(device, str, "device: expected a name such as cpu")
    path_given(model, "model")
    where = resolve_device(device)
    place = toy_model() if model == "toy" else model
    lm = load_model(
        str(place), device=device if device == "split" else where, dtype=resolve_dtype(dtype, where)
    )
    return dataclasses.replace(lm, name=str(model))


@dataclass(frozen=True, repr=False)
class Text:
    """Text in several languages; see `text`.

    Attributes:
        sources: source strings, as `--text` of the command line has them.
        languages: the codes of its languages, in order.
        given: sentences that were handed over rather than named.
    """

    sources: str
    languages: tuple[str, ...]
    given: Corpus | None = None

    def roles(self, target: str, reference: str, seed: int = 0) -> Roles:
        """The text cut into train, select, tune, test and panel, by pair and document, as a run cuts it.

        Raises:
            GlossaeError: a source cannot be read, or the target or the reference has no text.
        """
        return _roles(self, _recipe("toy", self, target, reference, {"seed": seed}))

    @property
    def table(self) -> pd.DataFrame:
        """Sentences by language and role."""
        target, reference = _pair(self, None, None)
        return pd.DataFrame(self.roles(target, reference).sentences).fillna(0).astype(int)

    def __repr__(self) -> str:
        given = f" and {len(self.given)} sentences given" if self.given else ""
        return f"Text({', '.join(self.languages)}: {self.sources}{given})"

    def _repr_html_(self) -> str:
        return str(self.table.to_html())


def text(source: str | Path | pd.DataFrame | None = None, /, **languages: Values) -> Text:
    """Name text in several languages, or hand it over. Roles are cut inside, so no claim is tested on text it is from.

    >>> text = gl.text("toy")  # or gl.text(da="da.txt", en="en.txt", sv="sv.txt"), or lists of sentences
    >>> text.languages
    ('da', 'en', 'sv', 'nb', 'de')

    A source string is whatever `--text` takes, and names its languages: `gl.text("opus:ELRC_2923", da=None, en=None)`.

    Args:
        source: a source string, a `Path`, or a data frame; rows with a column for each language are translations.
        languages: by code, a file or a list of sentences; with a source string, only the codes count.

    Raises:
        GlossaeError: there are fewer than two languages, a file is not there, or a data frame has not the columns.
    """
    expect(source, str | Path | pd.DataFrame | None, "text: expected a source string or a data frame")
    words, sentences = [], []
    codes = list(languages)
    if isinstance(source, pd.DataFrame):
        made = list(_of_frame(source))
        sentences += made
        codes = list(dict.fromkeys([*(s.language for s in made), *codes]))
    elif isinstance(source, Path):
        place = path_named(str(source))
        # so that nothing in its name is read as a source string
        words.append(shlex.quote(str(place) if place.is_absolute() else f"./{place}"))
    elif source is not None:
        words.append(source)
        codes += [
            language_code(code := part.partition("=")[0]) or code
            for word in split_sources(source)
            if "=" in word and ":" not in word
            for part in word.split(",")
            if "=" in part
        ]
        if source == "toy" and not codes:
            codes = ["da", "en", "sv", "nb", "de"]
    for code, values in languages.items():
        if language_code(code) != code:
            known = language_code(code)
            raise GlossaeError(f"text: '{code}' is no language code: write {known or 'one such as da'}")
        if isinstance(values, str | Path):
            if not path_named(str(path_given(values, f"text: {code}"))).exists():
                raise GlossaeError(f"text: {code}: there is no file '{values}'")
            words.append(shlex.quote(f"{code}={values}"))
        elif values is not None:
            # of a mapping or a table a list would hold the keys, and of a set it has no order
            listed = isinstance(values, Iterable) and not isinstance(values, Mapping | Set | pd.DataFrame)
            lines = list(values) if listed else []
            if not lines or not all(isinstance(line, str) for line in lines):
                raise GlossaeError(f"text: {code}: expected a file or a list of sentences, each a string")
            sentences += [
                Sentence(str(line), code, f"{GIVEN}:{code}:{number}", GIVEN)
                for number, line in enumerate(lines)
            ]
    codes = list(dict.fromkeys(codes))
    if len(codes) < 2:
        raise GlossaeError("text: name two languages at least, as in gl.text(da='da.txt', en='en.txt')")
    if sentences:
        words.append(GIVEN)
    return Text(" ".join(words), tuple(codes), Corpus.of(sentences) if sentences else None)


def _of_frame(frame: pd.DataFrame) -> Iterator[Sentence]:
    """The rows of a data frame that have a text; a missing pair or document is none."""
    for name in ("text", "language", "pair", "doc"):
        if list(frame.columns).count(name) > 1:
            raise GlossaeError(f"text: the data frame has several columns '{name}'")
    if {"text", "language"} <= set(frame.columns):
        # a pair that is missing is not the same pair as another
        pairs: Sequence[Any] = range(len(frame))
        if "pair" in frame.columns:
            pairs = [f"row {place}" if _missing(pair) else pair for place, pair in enumerate(frame["pair"])]
        docs = frame["doc"] if "doc" in frame.columns else [None] * len(frame)
        rows = zip(frame.index, frame["text"], frame["language"], pairs, docs, strict=True)
        for row, line, written, pair, doc in rows:
            code = language_code(written) if isinstance(written, str) else None
            if code is None:
                raise GlossaeError(f"text: row {row}: its language is {written!r}: write a code such as da")
            if text := _frame_text(line, row):
                yield Sentence(text, code, f"{GIVEN}:{pair}", GIVEN, "" if _missing(doc) else str(doc))
        return
    codes = [language_code(str(name)) for name in frame.columns]
    if not codes or None in codes or len(set(codes)) < len(codes):
        raise GlossaeError(
            "text: a data frame has the columns 'text' and 'language', or one for each language code"
        )
    for place, row in enumerate(frame.itertuples()):
        for code, line in zip(codes, row[1:], strict=True):
            if code is not None and (text := _frame_text(line, row[0])):
                yield Sentence(text, code, f"{GIVEN}:{place}", GIVEN)


def _frame_text(value: Any, row: Any) -> str:
    """A cell as text; empty if it is missing."""
    if isinstance(value, str):
        return value
    if not _missing(value):
        raise GlossaeError(f"text: row {row}: {value!r} is no text: write it as a string")
    return ""


def _missing(cell: Any) -> bool:
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


Kind = TypeVar("Kind", bound="_Result")


class _Figure(Figure):
    """A figure that a notebook shows by itself, without pyplot."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


class _Tabled:
    """What a notebook shows of a result: its table."""

    table: pd.DataFrame

    def __repr__(self) -> str:
        return f"{type(self).__name__}\n{self.table}"

    def _repr_html_(self) -> str:
        return str(self.table.to_html(max_rows=40))


def _said(path: Path) -> dict[str, Any]:
    """What a JSON file holds; empty if it is none."""
    try:
        said = read_json(path)
    except (GlossaeError, OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


class _Result(_Tabled):
    """A result that can be written and read again."""

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, atomically; `load` reads it.

        Raises:
            GlossaeError: the file cannot be written, or is there already and is no result of glossae.
        """
        place = path_given(path)
        if place.exists() and "glossae" not in _said(place):
            raise GlossaeError(f"{path}: exists and is no result of glossae: give another name")
        said = {
            f.name: {
                "table": getattr(self, f.name).astype(object).replace({np.nan: None}).to_dict(orient="list")
            }
            if isinstance(getattr(self, f.name), pd.DataFrame)
            else getattr(self, f.name)
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
        }
        write_json(place, {"glossae": type(self).__name__, **json.loads(json.dumps(said, default=float))})
        return place

    @classmethod
    def load(cls: type[Kind], path: str | Path) -> Kind:
        """Read what `save` wrote.

        Raises:
            GlossaeError: it is not there, or something else.
        """
        place = path_given(path)
        try:
            said = read_json(place)
            if said.pop("glossae") != cls.__name__:
                raise ValueError("it is something else")
            return cls(
                **{
                    name: pd.DataFrame(value["table"])
                    if isinstance(value, dict) and "table" in value
                    else value
                    for name, value in said.items()
                }
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise GlossaeError(f"{path}: cannot be read as {cls.__name__} ({error})") from error


@dataclass(frozen=True, repr=False)
class Layers(_Result):
    """How well each layer tells the target from its nearest other language; see `probe`.

    Attributes:
        best: the chosen layer.
        rule: how the layer is chosen, in words.
        table: by layer, the AUROC of held-out sentences over the `nearest` other language by a difference of means and
            by a probe; `score` is the smaller of the two, with its standard error `se`. Without a third language, the
            cross-entropy of held-out sentences (`bce`, `bce_se`), lower is better.
    """

    best: int
    rule: str
    table: pd.DataFrame

    def plot(self) -> Figure:
        """The score of each layer, or its cross-entropy, with one standard error."""
        scored = "score" in self.table
        heights, errors = ("score", "se") if scored else ("bce", "bce_se")
        figure = _Figure(figsize=(7, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.errorbar(self.table["layer"], self.table[heights], self.table[errors], marker="o")
        axes.axvline(self.best, color="0.8", zorder=0)
        label = "least AUROC over another language" if scored else "held-out cross-entropy (nats)"
        axes.set(xlabel="layer", ylabel=label)
        return figure


@dataclass(frozen=True)
class Unit:
    """One latent that stands for the target.

    Attributes:
        number: of the latent.
        facts: its firing rate, mean and largest activation by language, and its q value and least sentence AUROC.
        dashboard: what it does over the text: contexts, density, logit effects, nearest latents; None where the
            setting `dashboards.units` left it out.
    """

    number: int
    facts: dict[str, Any]
    dashboard: UnitDashboard | None

    @property
    def contexts(self) -> list[tuple[str, list[tuple[str, float]]]]:
        """The sentences of each language with its largest values: the language, and (text, value) of each token."""
        found = self.dashboard.contexts if self.dashboard else {}
        return [
            (code, list(zip(context.tokens, context.values, strict=True)))
            for code, contexts in found.items()
            for context in contexts
        ]

    def __repr__(self) -> str:
        rates = [f"{name[5:]} {value:.1%}" for name, value in self.facts.items() if name.startswith("rate.")]
        return f"Unit(latent {self.number}: fires on {', '.join(rates)})"

    def _repr_html_(self) -> str:
        largest = max((value for _, tokens in self.contexts for _, value in tokens), default=0.0) or 1.0
        rows = []
        for language, tokens in self.contexts:
            shown = "".join(
                f'<span style="background:rgba(255,170,0,{min(1.0, max(0.0, value) / largest):.2f})" '
                f'title="{value:.3g}">{html.escape(piece)}</span>'
                for piece, value in tokens
            )
            rows.append(f"<tr><td>{html.escape(language)}</td><td style='text-align:left'>{shown}</td></tr>")
        facts = pd.DataFrame([self.facts]).to_html(index=False, float_format="{:.3g}".format)
        return f"<p>latent {self.number}</p>{facts}<table>{''.join(rows)}</table>"


@dataclass(frozen=True, repr=False)
class Units(_Tabled):
    """The latents that stand for a language, best first; see `find`.

    `units[421]` is one of them with its contexts, `with units.turned(1): ...` turns them in the model.

    Attributes:
        numbers: of the latents.
        target, reference: the languages.
        rule: `tested` (the tests) or `paper` (the rate rule) where they pass; `fallback` where none passes: those with
            the largest difference between the firing rates on the target and the reference.
        table: a row for each: `rate.da` and so on by language, `q_value`, `sentence_auroc` (the least over another
            language).
        tests: every claim that was tested, with how many units of each kind pass it, and again on held-out text.
    """

    numbers: tuple[int, ...]
    target: str
    reference: str
    rule: str
    table: pd.DataFrame
    tests: pd.DataFrame
    _context: Context = field(repr=False)
    _text: Text = field(repr=False)
    _quick: bool = field(repr=False, default=False)
    _weights: list[tuple[int, float]] = field(repr=False, default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        closest = "none passes; by firing rates alone " if self.rule == "fallback" else ""
        return f"Units({self.target}: {closest}{', '.join(map(str, self.numbers)) or 'none'})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{super()._repr_html_()}"

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __getitem__(self, number: int) -> Unit:
        row = self.table[self.table["unit"] == number]
        if row.empty:
            found = ", ".join(map(str, self.numbers)) or "none"
            raise GlossaeError(f"units: {number} is not among them; there are {found}")
        # only whoever looks at a unit waits for the pass over the text
        if not self._context.folder.stands("dashboards"):
            if not self._unchanged():
                raise GlossaeError("model: its weights have changed since gl.find: find the units again")
            _done(self._context, "dashboards")
        rows = self._context.folder.summary("dashboards").dashboards or []
        path = self._context.folder.path / "dashboards" / f"latent-{number}.json"
        shown = any((row.kind, row.unit) == ("latent", number) for row in rows)
        facts = {str(key): value for key, value in row.astype(object).iloc[0].items()}
        return Unit(number, facts, read_dashboard(path) if shown else None)

    def _unchanged(self) -> bool:
        """Whether the model has the weights that it had in `find`."""
        return weight_sums(self._context.lm.model) == self._weights

    def knob(self, dose: float = 1.0) -> Knob:
        """The latents as one small knob: at dose 1 each has its mean on the target's text, at 0 on the reference's.

        Raises:
            GlossaeError: there are no units.
        """
        if not self.numbers:
            raise GlossaeError(f"units: no latent was found for {self.target}: there is nothing to turn")
        stored = self._context.folder.read("features", "ranges.json")
        low, high = (
            tuple(float(stored[name][str(unit)]) for unit in self.numbers)
            for name in ("reference_means", "target_means")
        )
        sae = load_sae(self._context)
        family = UnitSet("latents_add", sae, self.numbers, "add", low, high)
        return Knob.of(
            self._context.lm,
            self._context.site,
            family,
            dose=dose,
            target=self.target,
            reference=self.reference,
        )

    def turned(self, dose: float) -> AbstractContextManager[Any]:
        """Turn the units in the model as long as the block runs: 1 is a language's whole distance, -1 away from it.

        >>> with units.turned(4):
        ...     written = lm.write("When he went fishing he saw")
        """
        return self.knob(dose).on(self._context.lm)

    def save(self, path: str | Path) -> Path:
        """Write the units as a knob (`gl.Knob.load`), a small safetensors file."""
        return self.knob().save(path)

    def plot(self) -> Figure:
        """The firing rates by language."""
        rates = self.table.set_index("unit").filter(like="rate.").rename(columns=lambda name: name[5:])
        figure = _Figure(figsize=(7, 3.5), layout="constrained")
        axes = figure.subplots()
        if not rates.empty:
            rates.plot.bar(ax=axes)
        axes.set(xlabel="latent", ylabel="share of tokens it fires on")
        return figure


@dataclass(frozen=True, repr=False)
class Effect(_Result):
    """What it costs each language that units are fixed at a value; see `sweep`.

    Attributes:
        target: the language of the units.
        table: a row for each edit, value and language: `ce` (nats a token), `delta` (the change from no edit) with its
            95 % interval `ci_low`, `ci_high`, and the same per UTF-8 byte.
        selectivity: target against each other language, where the target's loss has risen by .1 and .3 nats a token.
    """

    target: str
    table: pd.DataFrame
    selectivity: pd.DataFrame

    def plot(self) -> Figure:
        """The change of loss against the value, language by language, with the autoencoder's error kept."""
        figure = _Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        kept = self.table["splice"].eq(False)
        rows = self.table[self.table["edit"].eq("set") & kept & self.table["source"].eq("all")]
        rows = rows[rows["units"].eq(rows["units"].iloc[0])] if len(rows) else rows
        for language, own in rows.groupby("language"):
            own = own.sort_values("value")
            axes.plot(own["value"], own["delta"], marker="o", label=language)
            axes.fill_between(own["value"], own["ci_low"], own["ci_high"], alpha=0.15)
        axes.set(xlabel="units fixed at", ylabel="change of loss (nats a token)")
        axes.legend()
        return figure


def probe(
    lm: LanguageModel,
    text: Text,
    target: str | None = None,
    *,
    reference: str | None = None,
    site: str = "resid",
    seed: int = 0,
    quick: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Layers:
    """Find the layer where the target is told from its nearest other language.

    >>> found = gl.probe(lm, text, target="da")
    >>> found.best in range(lm.layers)
    True

    Args:
        lm: the model.
        text: in the target and other languages; a third language makes it the nearest rather than the reference.
        target: the language; by default the first of the text.
        reference: the language that the model knows best; by default en, or else the first other one.
        site: `resid`, `mlp.hidden`, `mlp.out` or `attn.out`.
        seed: of whatever is drawn.
        quick: the settings of `glossae run --quick`: less text and fewer measurements, for a first look. Give it to all
            functions of a text, so that they divide it alike.
        settings: any other setting of a run by its dotted key, such as `{"probe.seeds": 3}`.

    Raises:
        GlossaeError: a setting is wrong, or there is too little text.
    """
    own = {"site": site, "seed": seed}
    context = _context(lm, text, target, reference, own, settings, quick=quick)
    found = _done(context, "probe").probe
    assert found is not None
    if found.nearest:
        table = pd.DataFrame(
            {
                "layer": row.layer,
                "score": row.score,
                "se": row.se,
                "nearest": min(row.difference, row.probe, key=lambda by: by.auroc).nearest,
                "difference": row.difference.auroc,
                "probe": row.probe.auroc,
            }
            for row in found.nearest.rows
        )
    else:
        table = pd.DataFrame(as_rows(found.layers)).drop(columns="model")
    return Layers(found.best_layer, found.rule, table)


def train(
    lm: LanguageModel,
    text: Text,
    *,
    site: str = "resid",
    layer: int,
    latents: int | None = None,
    k: int | None = None,
    epochs: int | None = None,
    target: str | None = None,
    reference: str | None = None,
    seed: int = 0,
    quick: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Sae:
    """Train a TopK sparse autoencoder at a site, and measure its fidelity on held-out text.

    >>> sae = gl.train(lm, text, site="resid", layer=found.best, latents=512, k=8, epochs=3)
    >>> sae.config.latents, sae.config.k
    (512, 8)

    `sae.quality` is its fidelity on held-out text, `sae.unsound` what is wrong with it, such as too many dead latents.

    Args:
        lm: the model.
        text: it is trained on the target's and the reference's sentences of `train`.
        site: `resid`, `mlp.hidden`, `mlp.out` or `attn.out`.
        layer: counted from 0.
        latents: how many; by default 4,096 (quick: 1,024).
        k: how many fire at a token; by default 64 (quick: 32).
        epochs: times that the text is gone through; by default 4.
        target: by default the first language of the text.
        reference: by default en, or else the first other one.
        seed: of the first weights, and of the order of the text.
        quick: the settings of `glossae run --quick`: less text and fewer measurements, for a first look. Give it to all
            functions of a text, so that they divide it alike.
        settings: any other setting of a run by its dotted key, such as `{"sae.activation": "batchtopk"}`.

    Raises:
        GlossaeError: a setting is wrong, the layer is not there, or the training diverges.
    """
    if not isinstance(layer, int):
        raise GlossaeError(f"layer: expected a layer's number, such as gl.probe(...).best, got {layer!r}")
    own = {"site": site, "layer": layer, "seed": seed}
    sizes = {"sae.latents": latents, "sae.k": k, "sae.epochs": epochs}
    own |= {key: value for key, value in sizes.items() if value is not None}
    context = _context(lm, text, target, reference, own, settings, quick=quick)
    _done(context, "sae")
    return load_sae(context)


def find(
    lm: LanguageModel,
    sae: Sae,
    text: Text,
    target: str | None = None,
    *,
    reference: str | None = None,
    rule: str = "tested",
    seed: int = 0,
    quick: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Units:
    """Find the latents that stand for a language, by tests against every other language of the text.

    >>> units = gl.find(lm, sae, text, target="da")
    >>> units.rule in ("tested", "fallback")  # fallback: none passes
    True
    >>> unit = units[units.numbers[0]]  # in a notebook: its facts, and the sentences with its largest values
    >>> unit.number == units.numbers[0]
    True

    Args:
        lm: the model that the autoencoder is of.
        sae: trained here, or read by `gl.Sae.load`.
        text: in the target and other languages; half of its panel is held out, and what passes is tested again there.
        target: by default the first language of the text.
        reference: by default en, or else the first other one.
        rule: `tested`: a sentence AUROC above .8 against each other language, with a false discovery rate of .05;
            `paper`: fires on more than 50 % of the target's tokens and on less than 1 % of the reference's.
        seed: of whatever is drawn.
        quick: the settings of `glossae run --quick`: less text and fewer measurements, for a first look. Give it to all
            functions of a text, so that they divide it alike.
        settings: any other setting of a run by its dotted key, such as `{"evidence.minimum": 0.9}`.

    Raises:
        GlossaeError: the autoencoder is not of this model, or there is too little text.
    """
    if not isinstance(sae, Sae):
        raise GlossaeError("sae: expected an SAE, from gl.train or gl.Sae.load")
    own = {"features.rule": rule, "seed": seed}
    context = _context(lm, text, target, reference, own, settings, sae, quick=quick)
    judged = sae.quality.judged if sae.quality else None
    if judged and context.target not in judged:
        warnings.warn(
            f"the SAE was trained on {' and '.join(judged)}, not on {context.target}: train it with "
            f"target='{context.target}'",
            stacklevel=2,
        )
    results = _done(context, "sae", "evidence", "features")
    features, evidence = results.features, results.evidence
    assert features is not None
    claims: list[Result] = []
    if isinstance(evidence, EvidenceResult):
        claims = [*evidence.claims, *evidence.replication]
    rows = as_rows(features.units)
    return Units(
        tuple(row.unit for row in features.units),
        context.target,
        context.reference,
        features.rule,
        pd.json_normalize(rows) if rows else pd.DataFrame(columns=["unit"]),
        pd.DataFrame(as_rows(claims)),
        context,
        text,
        quick,
        weight_sums(lm.model),
    )


def sweep(
    lm: LanguageModel,
    units: Units,
    text: Text,
    *,
    values: Sequence[float] = (-4, -2, -1, 1, 2, 4),
    settings: Mapping[str, Any] | None = None,
) -> Effect:
    """Fix units at values, and measure the next-token loss of each language on held-out text.

    Units that were found with `quick` are measured on less text, too.

    >>> effect = gl.sweep(lm, units, text, values=[-4, 4])
    >>> sorted(effect.table["language"].unique())
    ['da', 'de', 'en', 'nb', 'sv']

    Args:
        lm: the model.
        units: what `find` gave.
        text: the text that they were found on: its role `test` is held out.
        values: multiples of each latent's 99th percentile on the target's text.
        settings: any other setting of a run by its dotted key, such as `{"effects.sentences": 200}`.

    Raises:
        GlossaeError: there are no units, or an argument is wrong.
    """
    expect(units, Units, "units: expected what gl.find gave")
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise GlossaeError(f"values: expected a list of numbers, got {values!r}")
    if not units.numbers:
        raise GlossaeError(f"units: no latent was found for {units.target}: there is nothing to turn")
    _check_given(lm, text, settings)
    before = units._context
    own = {"effects.sweep": True, "effects.values": list(values), **(settings or {})}
    of_effects = all(key.startswith("effects.") for key in own)
    if lm is before.loaded and text == units._text and of_effects and units._unchanged():
        # the folder of `find` has all that stands before the effects
        effects = before.recipe.effects
        flags = {key.removeprefix("effects."): _flag(value) for key, value in own.items()}
        changed = {key: None if value == "none" else value for key, value in flags.items()}
        recipe = before.recipe.model_copy(update={"effects": type(effects)(**effects.model_dump() | changed)})
        context = dataclasses.replace(before, recipe=recipe)
    else:
        own |= {"features.units": list(units.numbers), "seed": before.recipe.seed}
        pair = units.target, units.reference
        context = _context(lm, text, *pair, own, settings, load_sae(before), quick=units._quick)
    found = _done(context, "sae", "evidence", "features", "effects").next_token
    assert found is not None
    cells, compared = (pd.DataFrame(as_rows(rows)) for rows in (found.cells, found.selectivity))
    return Effect(units.target, cells, compared)


def report(folder: str | Path) -> Path:
    """Draw the page of a run anew; open it in a browser.

    Raises:
        GlossaeError: it is no run.
    """
    from glossae.reporting import write_report

    return Path(write_report(path_given(folder, "run")))


# ---- the run behind a function


def _pair(text: Text, target: str | None, reference: str | None) -> tuple[str, str]:
    target = target or text.languages[0]
    others = [code for code in text.languages if code != target]
    if target not in text.languages:
        raise GlossaeError(f"target: the text has no {target}; it has {', '.join(text.languages)}")
    return target, reference or ("en" if "en" in others else others[0])


def _recipe(
    model: str,
    text: Text,
    target: str | None,
    reference: str | None,
    settings: Mapping[str, Any],
    quick: bool = False,
) -> Recipe:
    target, reference = _pair(text, target, reference)
    for key in settings:
        if key in ("model", "corpora.text") or key.startswith("languages."):
            raise GlossaeError(f"settings: {key}: is given by the model and the text")
    own = {
        "model": model,
        "corpora.text": text.sources,
        "languages.target": target,
        "languages.reference": reference,
        "languages.others": [code for code in text.languages if code not in (target, reference)],
        # what a function does not do is not prepared for
        "baselines.trained": 0,
        "baselines.frozen": 0,
        # enough for the contexts of a unit, and soon read
        **({} if quick else {"dashboards.sentences": 1000}),
        **settings,
    }
    return load_recipe("find", {key: _flag(value) for key, value in own.items()}, quick=quick, dashes="")


def _flag(value: Any) -> str:
    """A setting as the command line has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _roles(text: Text, recipe: Recipe) -> Roles:
    given = text.given
    return roles_of(recipe, {} if given is None else {GIVEN: lambda languages, _: given.only(*languages)})


def _check_given(lm: LanguageModel, text: Text, settings: Mapping[str, Any] | None) -> None:
    """Refuse arguments of other types."""
    expect(lm, LanguageModel, "lm: expected a model of gl.load")
    expect(text, Text, "text: expected a text of gl.text")
    expect(settings, Mapping | None, "settings: expected a dictionary")


def _context(
    lm: LanguageModel,
    text: Text,
    target: str | None,
    reference: str | None,
    own: Mapping[str, Any],
    settings: Mapping[str, Any] | None,
    sae: Sae | None = None,
    quick: bool = False,
) -> Context:
    """A run in a temporary folder, which is deleted with the context."""
    _check_given(lm, text, settings)
    scratch = Path(tempfile.mkdtemp(prefix="glossae-"))
    every = {"dtype": str(lm.model.dtype).removeprefix("torch."), "bos": lm.bos or "auto", **own}
    if sae is not None:
        sae.save(scratch / GIVEN)
        every |= {"site": sae.config.site, "layer": sae.config.layer, "sae.from": scratch / GIVEN}
    try:
        recipe = _recipe(lm.name, text, target, reference, {**every, **(settings or {})}, quick)
        context = Context(recipe, _roles(text, recipe), RunFolder(scratch), Show(quiet=False), loaded=lm)
    except BaseException:
        shutil.rmtree(scratch)
        raise
    weakref.finalize(context, shutil.rmtree, scratch, ignore_errors=True)
    return context


def _done(context: Context, *stages: str) -> StageResults:
    """Carry out stages, and what they put into `results.json`."""
    assert context.loaded is not None
    if edited(context.loaded):
        raise GlossaeError("model: units are turned: leave the `with` block first")
    for name in stages:
        stage_of(name).check(context)
        run_stage(context, name)
    return StageResults().joined(*(context.folder.summary(name) for name in stages))
