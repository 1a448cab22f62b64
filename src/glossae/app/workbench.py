"""What the app computes: values of units on text, and a model's predictions as it is and turned."""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from glossae.corpora import Corpus, Sentence
from glossae.effects import Knob, UnitSet
from glossae.errors import GlossaeError
from glossae.files import read_json
from glossae.lm import (
    MAX_TOKENS,
    LanguageModel,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    prompt_ids,
    sentence_losses,
    tokenize,
)
from glossae.results import UnitRow, read_dashboard
from glossae.run.folder import SAE, open_run
from glossae.run.knobs import knob_of_run, model_of_run
from glossae.sae import placed, read_sae
from glossae.units import Directions, Kind, Latents, Neurons, Units, readable_tokens

Side = Literal["raw", "turned"]
# tokens whose probabilities are shown
LIKELY = 10


@dataclass(frozen=True)
class UnitOnOffer:
    """A unit that can be looked at and turned.

    Attributes:
        key: `KIND-NUMBER`, as its page is called; `difference-of-means` for that direction.
        name: its name in tables.
        about: the share of each language's tokens that it fires on, as text; empty if that is not known.
        units: the units that it is one of.
        unit: its number among `units`.
        low: its mean value on the reference's text.
        high: its mean value on the target's text.
        zero: the value that has no colour.
        full: the value that has the whole colour.
    """

    key: str
    name: str
    about: str
    units: Units
    unit: int
    low: float
    high: float
    zero: float
    full: float

    @property
    def kind(self) -> Kind:
        """`latent`, `neuron` or `direction`."""
        return self.units.kind

    def share(self, value: float) -> float:
        """How much of the colour a value has, 0 to 1."""
        return min(1.0, max(0.0, (value - self.zero) / ((self.full - self.zero) or 1.0)))


class Token(NamedTuple):
    """A token of a text, as a readable string, with the value of each unit; none where units are not read (sinks)."""

    text: str
    values: dict[str, float]


class NextToken(NamedTuple):
    """A token that may come next, with its probability by the model as it is, and turned."""

    text: str
    raw: float
    turned: float


class Loss(NamedTuple):
    """Mean next-token loss over the predicted tokens of a text, nats a token, of the model as it is, and turned."""

    tokens: int
    raw: float
    turned: float


class Workbench:
    """A run's model and units, to be looked at and turned. Several threads may use one at the same time.

    The dose is that of knobs: 1 adds to each unit the distance from its mean on the reference's text to its mean
    on the target's, times its direction. Edits are hooks on the one model, so a lock admits one pass at a time.

    Args:
        place: the folder of a run that has finished the stage `features`.

    Raises:
        GlossaeError: it is no run, has no unit, or its model cannot be loaded.
    """

    def __init__(self, place: str | Path) -> None:
        run = open_run(place)
        features = run.summary("features").features
        assert features is not None
        recipe, sae = run.recipe, read_sae(run.file(SAE))
        self.run, self.recipe = run, recipe.name
        self.target, self.reference = recipe.languages.target, recipe.languages.reference
        self.lm: LanguageModel = model_of_run(run)
        self.site = Site(recipe.site, sae.config.layer or 0)
        # the most tokens of a text, with what stands before it
        self.longest = min(MAX_TOKENS, self.lm.max_positions)
        # with their negations, as the tests number them
        self._neurons = Neurons(self.site, self.lm.width(self.site), signed=True, model=self.lm.name)
        latents, selected = Latents(placed(sae, self.lm.device)), {row.unit: row for row in features.units}
        offered = [
            self._latent(latents, row)
            for row in (selected | {row.unit: row for row in features.nearest}).values()
        ]
        offered += self._with_pages() or self._of_steering("neuron")
        offered += self._of_steering("direction")
        self.units = {unit.key: unit for unit in offered}
        if not self.units:
            raise GlossaeError(
                f"{place}: this run has no unit to show: no latent was selected or near the rate rule"
            )
        self.selected = tuple(f"latent-{unit}" for unit in selected) or tuple(self.units)[:1]
        self._lock = threading.RLock()

    def examples(self) -> dict[str, str]:
        """A held-out sentence in the target and one in the reference, of those that the run shows; else empty."""
        found: dict[str, str] = {}
        with suppress(GlossaeError, OSError, ValueError, KeyError, TypeError):
            for each in read_json(self.run.file("features/texts.json")):
                found.setdefault(each["language"], "".join(each["tokens"]))
        return {language: found.get(language, "") for language in (self.target, self.reference)}

    def chosen(self, keys: Sequence[str]) -> list[UnitOnOffer]:
        """The units of these keys, none twice.

        Raises:
            GlossaeError: one is not on offer.
        """
        for key in keys:
            if not isinstance(key, str) or key not in self.units:
                raise GlossaeError(f"unit: there is no '{key}' here; there are {', '.join(self.units)}")
        return [self.units[key] for key in dict.fromkeys(keys)]

    def knob(self, keys: Sequence[str], dose: float) -> Knob:
        """The units as a knob that adds to them; units of several kinds become directions.

        Raises:
            GlossaeError: there is no unit, or one is not on offer.
        """
        units = self.chosen(keys)
        if not units:
            raise GlossaeError("knob: choose at least one unit")
        low, high = [unit.low for unit in units], [unit.high for unit in units]
        ids, family = tuple(unit.unit for unit in units), units[0].units
        if any(unit.units is not family for unit in units):
            rows = torch.cat([unit.units.direction([unit.unit]).detach().double().cpu() for unit in units])
            # directions have length 1, so amounts are multiplied by the length before
            norms = rows.norm(dim=1).tolist()
            low, high = ([a * b for a, b in zip(values, norms, strict=True)] for values in (low, high))
            family = Directions([unit.name for unit in units], rows, torch.zeros(len(rows)), site=self.site)
            ids = tuple(range(len(units)))
        return Knob.of(
            self.lm,
            self.site,
            UnitSet(f"{family.kind}s_add", family, ids, "add", tuple(low), tuple(high)),
            dose=dose,
            target=self.target,
            reference=self.reference,
            origin={"recipe": self.recipe},
        )

    def colour(self, text: str, keys: Sequence[str]) -> list[Token]:
        """The tokens of a text with the values of units; a text is cut at `longest` tokens.

        Raises:
            GlossaeError: a unit is not on offer, or the model cannot read the text.
        """
        units = self.chosen(keys)
        tokens = self._tokens({"": text}, least=1)
        if not len(tokens):
            return []
        with self._lock:
            (part,) = activations(self.lm, batches(tokens, self.longest), [self.site])
            x, places = part.sites[self.site], (part.position - tokens.prefix).tolist()
            columns: dict[str, list[float]] = {}
            for family in dict.fromkeys(unit.units for unit in units):
                own = [unit for unit in units if unit.units is family]
                read = family.read(x, [unit.unit for unit in own]).T.tolist()
                columns |= {unit.key: column for unit, column in zip(own, read, strict=True)}
        rows = dict(zip(places, range(len(places)), strict=True))
        return [
            Token(
                piece, {unit.key: columns[unit.key][rows[place]] for unit in units} if place in rows else {}
            )
            for place, piece in enumerate(readable_tokens(self.lm, tokens.ids[0][tokens.prefix :].tolist()))
        ]

    def next_tokens(self, prompt: str, keys: Sequence[str], dose: float) -> list[NextToken]:
        """The `LIKELY` tokens that are most probable after a prompt, by the larger of the two probabilities.

        Raises:
            GlossaeError: a unit is not on offer, or the prompt is empty or has `longest` tokens or more.
        """
        ids = self._prompt(prompt)
        raw, turned = (
            self._generate(ids, knob, max_new_tokens=1, output_logits=True, return_dict_in_generate=True)
            .logits[0][0]
            .float()
            .softmax(-1)
            for knob in (None, self._turned(keys, dose))
        )
        best = torch.maximum(raw, turned).topk(min(LIKELY, len(raw))).indices.tolist()
        return [
            NextToken(str(self.lm.tokenizer.decode([token])), float(raw[token]), float(turned[token]))
            for token in best
        ]

    def losses(self, texts: Mapping[str, str], keys: Sequence[str], dose: float) -> dict[str, Loss]:
        """The losses of a text in each language; those with nothing to predict are left out.

        Args:
            texts: by language.
            keys: of the units that are turned.
            dose: how far.

        Raises:
            GlossaeError: a unit is not on offer, or the model cannot read a text.
        """
        knob, tokens = self._turned(keys, dose), self._tokens(texts, least=2)
        if not len(tokens):
            return {}
        with self._lock:
            raw = sentence_losses(self.lm, tokens)
            with self._on(knob):
                turned = sentence_losses(self.lm, tokens)
        rows = zip(tokens.corpus.sentences, tokens.predicted, raw, turned, strict=True)
        return {s.language: Loss(int(n), float(one / n), float(two / n)) for s, n, one, two in rows}

    def continue_(
        self, prompt: str, keys: Sequence[str], dose: float, *, new_tokens: int = 40
    ) -> Iterator[tuple[Side, str]]:
        """Continue a prompt greedily by the model as it is, then turned: the side and its text so far, by token.

        A caller that closes the iterator stops the model after its current token.

        Args:
            prompt: the text to continue; the user's turn if the run reads chats.
            keys: of the units that are turned.
            dose: how far.
            new_tokens: the most tokens to write; fewer if the model has no more positions.

        Raises:
            GlossaeError: as for `next_tokens`.
        """
        ids, turned = self._prompt(prompt), self._turned(keys, dose)
        sides: tuple[tuple[Side, Knob | None], ...] = (("raw", None), ("turned", turned))
        for side, knob in sides:
            for text in self._stream(ids, knob, min(new_tokens, self.lm.max_positions - len(ids))):
                yield side, text

    def _stream(self, ids: list[int], knob: Knob | None, new_tokens: int) -> Iterator[str]:
        """The continuation so far, after each token.

        The model runs in a thread of its own, which holds the lock: a caller that is slow, or that never comes
        back, keeps nobody else waiting.
        """
        came: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        stop = threading.Event()

        def write() -> None:
            try:
                self._generate(
                    ids,
                    knob,
                    max_new_tokens=new_tokens,
                    streamer=_Streamer(came),
                    stopping_criteria=[
                        lambda rows, *_, **__: torch.full((len(rows),), stop.is_set(), device=rows.device)
                    ],
                    stop=stop,
                )
            except Exception as error:  # whatever it is, the caller has to see it
                came.put(error)
            finally:
                came.put(None)

        threading.Thread(target=write, name="glossae-continuation", daemon=True).start()
        written: list[int] = []
        try:
            while (token := came.get()) is not None:
                if isinstance(token, BaseException):
                    raise token
                written.append(token)
                # a character whose bytes are not complete yet comes with the next token
                yield str(self.lm.tokenizer.decode(written, skip_special_tokens=True)).rstrip("�")
        finally:
            stop.set()

    def _generate(
        self, ids: list[int], knob: Knob | None, *, stop: threading.Event | None = None, **settings: object
    ) -> Any:
        """What `generate` returns by the model as it is or turned, while nobody else uses it."""
        row = torch.tensor([ids], device=self.lm.device)
        with self._lock, self._on(knob), torch.no_grad():
            if stop is not None and stop.is_set():
                return row
            return self.lm.model.generate(row, attention_mask=torch.ones_like(row), **settings)

    def _on(self, knob: Knob | None) -> AbstractContextManager[None]:
        return nullcontext() if knob is None else knob.on(self.lm)

    def _turned(self, keys: Sequence[str], dose: float) -> Knob | None:
        return self.knob(keys, dose) if keys else None

    def _prompt(self, prompt: str) -> list[int]:
        """The token ids of a prompt that has room for one more token."""
        ids = prompt_ids(self.lm, prompt)
        if not prompt.strip() or not ids:
            raise GlossaeError("prompt: is empty; type the beginning of a text")
        if len(ids) >= self.longest:
            raise GlossaeError(
                f"prompt: has {len(ids)} tokens, and {self.longest - 1} are the most; shorten it"
            )
        return ids

    def _tokens(self, texts: Mapping[str, str], *, least: int) -> TokenizedCorpus:
        corpus = Corpus.of(Sentence(text, code, code, "text") for code, text in texts.items() if text.strip())
        return tokenize(self.lm, corpus, max_tokens=self.longest, prefix=self.lm.prefix, least=least)

    def _latent(self, latents: Latents, row: UnitRow) -> UnitOnOffer:
        # the mean over all tokens, with 0 where it does not fire
        low, high = (row.rate[code] * row.mean_active[code] for code in (self.reference, self.target))
        rates = ", ".join(f"{code} {row.rate[code]:.0%}" for code in (self.target, self.reference))
        return UnitOnOffer(
            key=f"latent-{row.unit}",
            name=latents.name(row.unit),
            about=f"({rates})",
            units=latents,
            unit=row.unit,
            low=low,
            high=high,
            zero=0.0,
            full=max(row.max_active.values()),
        )

    def _with_pages(self) -> list[UnitOnOffer]:
        """The neurons that the stage dashboards looked at, whose means it has; none if it is not done."""
        found = []
        with suppress(GlossaeError):
            for row in self.run.summary("dashboards").dashboards or []:
                if row.kind == "neuron":
                    seen = read_dashboard(self.run.file(f"dashboards/neuron-{row.unit}.json"))
                    low, high = (seen.density[code].mean for code in (self.reference, self.target))
                    found.append(_offered(f"neuron-{row.unit}", self._neurons, row.unit, low, high))
        return found

    def _of_steering(self, kind: Kind) -> list[UnitOnOffer]:
        """The neurons, or the difference of means, that the stage steering compared; none if it was not run."""
        try:
            knob = knob_of_run(self.run.path, kind, "add", dose=1.0, whole=False)
        except GlossaeError:
            return []
        means = list(zip(knob.names, knob.family.low, knob.family.high, strict=True))
        if kind == "direction":
            return [
                _offered("difference-of-means", knob.family.all_units, place, low, high)
                for place, (_, low, high) in enumerate(means)
            ]
        ids = [int(name.split()[1]) for name in knob.names]
        return [
            _offered(f"neuron-{unit}", self._neurons, unit, low, high)
            for unit, (_, low, high) in zip(ids, means, strict=True)
        ]


def _offered(key: str, units: Units, unit: int, low: float, high: float) -> UnitOnOffer:
    """A neuron or a direction, with its means on the reference's and the target's text."""
    # those of a direction are of components along it, and what is read has its offset taken off
    offset = float(units.offsets[unit]) if isinstance(units, Directions) else 0.0
    # the mean of the target's text has half the colour
    return UnitOnOffer(
        key, units.name(unit), "", units, unit, low, high, low - offset, 2 * high - low - offset
    )


class _Streamer:
    """Hands each new token of `generate` to a queue."""

    def __init__(self, came: "queue.SimpleQueue[int | BaseException | None]") -> None:
        self.came, self.begun = came, False

    def put(self, value: torch.Tensor) -> None:
        """The prompt comes first, then each token."""
        if self.begun:
            self.came.put(int(value.reshape(-1)[-1]))
        self.begun = True

    def end(self) -> None:
        """Nothing: the thread says itself when it is done."""
