"""What the stages of one run share: its recipe, its text, its model, its folder, and what a person sees."""

import dataclasses
import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from glossae import ranks
from glossae._version import __version__
from glossae.corpora import OPTIONAL, Corpus, Roles, TextStream, parse_stream, sentence_keys
from glossae.errors import GlossaeError, one_line
from glossae.files import file_sha256, fingerprint, path_named, tensors_sha256
from glossae.hub import silent_client
from glossae.lm import (
    MAX_TOKENS,
    SPLIT,
    Beginning,
    FoundSinks,
    Homes,
    LanguageModel,
    Passes,
    Site,
    StreamedTokens,
    TokenizedCorpus,
    beginning_loss,
    decide_beginning,
    fast_bfloat16,
    find_sinks,
    known_commit,
    load,
    resolve_device,
    resolve_dtype,
    stream_tokens,
    tokenize,
    with_sinks,
)
from glossae.plan import check_positions
from glossae.recipe import Recipe
from glossae.results import SCHEMA_VERSION
from glossae.run.folder import PASSES, Parts, RunFolder
from glossae.sae import Sae, fetch_sae, read_sae
from glossae.toy import toy_model

TOY = "toy"

Cell = TypeVar("Cell")

Progress = Callable[[float], None]
"""Is told the share of the work that is done."""


class _Console(Console):
    """A console that says that its reader has left, where rich would end the process with status 1."""

    def on_broken_pipe(self) -> None:
        """Raise the `BrokenPipeError` that is being handled."""
        raise


class Show:
    """What a person sees on standard error: bars in a terminal, else lines with times; quiet: only notes.

    silent: nothing at all, for a process that is not a run's first.
    """

    EVERY = 30.0
    """Seconds between two lines on the same stage."""
    PATIENCE = 3.0
    """Seconds after which a person is told what is being waited for."""

    def __init__(self, quiet: bool, *, silent: bool = False) -> None:
        self.quiet = quiet
        self.console = _Console(stderr=True, highlight=False, markup=False, emoji=False, quiet=silent)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[Progress]:
        """A bar or lines for one stage; the block tells fractions of it."""
        if self.quiet:
            yield lambda _: None
            return
        if not self.console.is_terminal:
            with self._logged(name, what) as progress:
                yield progress
            return
        what = one_line(what)
        columns = (
            TextColumn("[bold]{task.description:<9}[/]"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[what]}", markup=False),
        )
        with Bars(*columns, console=self.console) as bars:
            task = bars.add_task(name, total=1.0, what=what)
            yield lambda fraction: bars.update(task, completed=fraction)
            bars.update(task, completed=1.0)

    @contextmanager
    def _logged(self, name: str, what: str) -> Iterator[Progress]:
        """Lines on one stage: its begin, its end, and between them one in `EVERY` seconds."""
        began = said = time.monotonic()

        def progress(fraction: float) -> None:
            nonlocal said
            if (now := time.monotonic()) - said >= self.EVERY:
                said = now
                left = f", {_duration((now - began) * (1 - fraction) / fraction)} left" if fraction else ""
                self._log(f"{name}: {fraction:.0%} after {_duration(now - began)}{left}")

        self._log(f"{name}: {what}")
        yield progress
        self._log(f"{name}: done in {_duration(time.monotonic() - began)}")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say what takes so long if the block, which has no progress of its own, takes more than `PATIENCE` seconds."""
        timer = threading.Timer(self.PATIENCE, self._log, [what])
        if not self.quiet:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def skipped(self, name: str) -> None:
        """Say that a stage stands as it is."""
        if not self.quiet:
            self._log(f"{name}: done before, kept")

    def note(self, line: str) -> None:
        """Say one thing that a person should know; also when quiet, for it is no progress."""
        self._log(line)

    def _log(self, line: str) -> None:
        """A line, in which a terminal finds nothing to obey; with its time if it goes to a log."""
        line = one_line(line)
        if not (self.quiet or self.console.is_terminal):
            line = f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}"
        self.console.print(line, soft_wrap=True)


def _duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3:05`, `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def part(progress: Progress, start: float, end: float) -> Progress:
    """Progress of a part: 0 to 1 becomes `start` to `end`."""
    return lambda fraction: progress(start + (end - start) * fraction)


@dataclass(frozen=True)
class GivenSae:
    """An autoencoder from elsewhere.

    Attributes:
        sae: read, whichever library wrote it; it may map a file of another's.
        place: as the recipe names it.
        identity: tells it from any other: its files' hashes.
        commit: of the hub, if it came from there.
        digest: of its tensors as they were read.
    """

    sae: Sae
    place: str
    identity: str
    commit: str | None
    digest: str

    def check_unchanged(self) -> None:
        """Look again at what it maps.

        Raises:
            GlossaeError: the file was written to since it was read.
        """
        if _digest(self.sae) != self.digest:
            raise GlossaeError(
                f"sae.from: {self.place}: was written to while the run read it; start it again"
            )


def _digest(sae: Sae) -> str:
    return tensors_sha256("", sae.tensors())


def read_given(place: str) -> GivenSae:
    """Read what `sae.from` names: a folder, a file, or `hub:OWNER/NAME[@REVISION][/FOLDER][/FILE]`.

    Raises:
        GlossaeError: it is not there, cannot be read or cannot be fetched.
    """
    try:
        path, commit = fetch_sae(place) if place.startswith("hub:") else (path_named(place), None)
        # not `Sae.load`: the run measures it again and says itself what is unsound
        sae = read_sae(path)
        return GivenSae(sae, place, _sae_identity(path), commit, _digest(sae))
    except (GlossaeError, RuntimeError) as error:
        raise GlossaeError(f"sae.from: {error}") from error


_CONFIGS = ("cfg.json", "config.json", "glossae.json")


def _sae_identity(path: Path) -> str:
    # of a named file, with the configs that lie beside it
    there = (path, *map(path.with_name, _CONFIGS)) if path.is_file() else path.rglob("*")
    files = sorted(file for file in there if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        if file.suffix in (".json", ".safetensors", ".npz", ".pt"):
            digest.update(f"{file.name} {file_sha256(file)}".encode())
    return digest.hexdigest()[:16]


class Shard(NamedTuple):
    """Which cells of a stage a job computes: of every `of` cells the one with this number, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


class ElsewhereError(Exception):
    """A shard has computed its cells, and other jobs compute the others: the stage does not go on here."""

    def __init__(self, own: int, cells: int) -> None:
        super().__init__(f"{own} of {cells} cells")
        self.own, self.cells = own, cells


@dataclass(frozen=True)
class Inputs:
    """What a stage's result depends on, besides the model and how text enters it.

    Attributes:
        roles: whose text it reads.
        settings: what it looks at.
        after: earlier stages that it builds on, or a file of one: `sae`, `features/ranges.json`.
        statistics: settings that its finished parts do not depend on, but what is made of them does.
    """

    roles: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)


@dataclass
class Context:
    """Shared by the stages; the model is loaded, and a role tokenized, when first asked for.

    Attributes:
        recipe: the run's settings.
        roles: its text.
        folder: its folder.
        show: tells what is done.
        parts: of each stage that was begun or skipped, its finished parts.
        prepared: what stages read before any model was loaded, by stage.
        loaded: the recipe's model, where it is loaded already.
        shard: the part of the next stage's cells that this job computes; None: all.
    """

    recipe: Recipe
    roles: Roles
    folder: RunFolder
    show: Show
    parts: dict[str, Parts] = field(default_factory=dict)
    prepared: dict[str, Any] = field(default_factory=dict)
    loaded: LanguageModel | None = None
    shard: Shard | None = None
    _tokens: dict[str, TokenizedCorpus] = field(default_factory=dict)
    _habits: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def lm(self) -> LanguageModel:
        """The run's language model, which knows what its texts begin with and which tokens are attention sinks."""
        lm = self._with_habits(self.loaded or load_model(self.recipe, self.recipe.model))
        # stages look at the same text with other units, and one that was cut off at the text it has looked at
        texts = [corpus.sha256 for corpus in self.roles.corpora.values()]
        own = fingerprint([self.base, self.device, str(lm.model.dtype), texts])
        value = lm.widths[self.recipe.site] * lm.model.dtype.itemsize
        passes = Passes(self.folder.path / PASSES, lm.model, own)
        # the rest is for other sites and texts
        most = int(passes.most // (2 * value))
        passes.homes = cache(lambda: Homes(self._read_whole(), self.recipe.batch_tokens, most))
        return dataclasses.replace(lm, passes=passes)

    def _read_whole(self) -> Iterator[TokenizedCorpus]:
        """The texts of which a run reads every sentence at its site."""
        dashboards, corpora = self.recipe.dashboards, self.roles.corpora
        if self.given is None and self.stream is None:
            yield self.training_tokens()
        whole = ["select", *OPTIONAL]
        if dashboards.units and dashboards.sentences is None:
            whole += corpora
        yield from (self.tokens(role) for role in dict.fromkeys(whole) if role in corpora)

    @property
    def habits(self) -> dict[str, Any]:
        """What texts of the run's model begin with and which tokens are attention sinks, as `run.json` has it."""
        assert self.lm is not None
        found: dict[str, Any] = self._habits[self.recipe.model]
        return found

    @cached_property
    def given(self) -> GivenSae | None:
        """The autoencoder that the recipe names, if it names one."""
        place = self.recipe.sae.from_
        return None if place is None else read_given(place)

    @property
    def target(self) -> str:
        """The language looked for."""
        return self.recipe.languages.target

    @property
    def reference(self) -> str:
        """The language it is told apart from."""
        return self.recipe.languages.reference

    def model(self, name: str) -> LanguageModel:
        """A model by the name that the recipe gives it; the run's own is loaded once."""
        if name == self.recipe.model:
            return self.lm
        # what is fetched only now gets no bar of its own inside the stage's
        with silent_client(bars=False):
            return self._with_habits(load_model(self.recipe, name))

    def _with_habits(self, lm: LanguageModel) -> LanguageModel:
        """A model with its habits: those that an earlier try of the run found, or else found on text of `train`."""
        recipe = self.recipe
        known = fingerprint(
            {
                "model": model_identity(lm.name),
                "text": self.roles.corpora["train"].sha256,
                "pair": [self.target, self.reference],
                "settings": [recipe.bos, recipe.chat, recipe.site, recipe.dtype],
                "bfloat16": self._tries_bfloat16(lm),
            }
        )
        stored = self.folder.record.get("habits", {}).get(lm.name)
        # one rank decides for all: what a machine is fast in may differ
        if ranks.exchange(stored is None or (stored["of"] != known and not ranks.world()[0]), "known habits")[
            0
        ]:
            sample = habit_sample(self.roles.corpora["train"], (self.target, self.reference))
            begun, found = find_habits(lm, sample, recipe)
            in_half = self._loss_in_half(lm, sample, begun)
            if begun.warning:
                self.show.note(begun.warning)
            if by_site := sinks_line(found, by_the_paper=recipe.by_the_paper):
                self.show.note(by_site)
            stored = {
                "of": known,
                "bos": begun.bos,
                "chat": list(begun.chat),
                "tokenizer_adds_bos": begun.tokenizer_adds,
                "loss_with_bos": begun.loss_with,
                "loss_without_bos": begun.loss_without,
                "loss_in_chat": begun.loss_in_chat,
                "loss_in_bfloat16": in_half,
                "bfloat16": in_half is not None and _close(in_half, begun.loss),
                "sentences": begun.sentences,
                "warning": begun.warning,
                "sinks": [each.to_json() for each in found],
            }
        (stored, *_) = ranks.exchange(stored, "habits")
        if stored.get("bfloat16"):
            lm.model.to(torch.bfloat16)
        elif lm.model.dtype != resolve_dtype(recipe.dtype, lm.device):
            # what the weights have lost by the comparison
            lm = load_model(recipe, lm.name)
        self._habits[lm.name] = stored
        self.folder.record.setdefault("habits", {})[lm.name] = stored
        lm = dataclasses.replace(lm, bos=stored["bos"], chat=tuple(stored["chat"]))
        # the paper leaves no token out
        if recipe.by_the_paper:
            return lm
        return with_sinks(lm, [FoundSinks.from_json(row) for row in stored["sinks"]])

    def _tries_bfloat16(self, lm: LanguageModel) -> bool:
        return self.recipe.dtype == "auto" and lm.device.type == "cpu" and fast_bfloat16()

    def _loss_in_half(self, lm: LanguageModel, sample: Corpus, begun: Beginning) -> float | None:
        """The loss in bfloat16, which the model is left in; None where that is not tried."""
        if not self._tries_bfloat16(lm):
            return None
        lm.model.to(torch.bfloat16)
        return beginning_loss(lm, sample, begun, max_tokens=HABIT_TOKENS)

    def share(self, cells: Iterable[Cell]) -> Iterator[Cell]:
        """The cells that this job computes, each with a finished part of its own: all of them, or a shard's.

        Raises:
            ElsewhereError: after the last cell of a shard.
        """
        for own in self.share_at_once(cells):
            yield from own

    def share_at_once(self, cells: Iterable[Cell]) -> Iterator[list[Cell]]:
        """`share` for cells that are computed together: a single list.

        Raises:
            ElsewhereError: after a shard's list.
        """
        every = list(cells)
        own = every if self.shard is None else every[self.shard.number - 1 :: self.shard.of]
        yield own
        if self.shard is not None:
            raise ElsewhereError(len(own), len(every))

    def tokens(self, role: str, lm: LanguageModel | None = None) -> TokenizedCorpus:
        """A role's text as token ids of the run's model, or of another one."""
        own = lm is None or lm is self.lm
        if own and role in self._tokens:
            return self._tokens[role]
        lm = lm or self.lm
        tokens = tokenize(
            lm, self.roles.corpora[role], max_tokens=longest_text(self.recipe, lm), prefix=lm.prefix
        )
        if own:
            self._tokens[role] = tokens
        return tokens

    def pair_tokens(self, role: str, lm: LanguageModel | None = None) -> TokenizedCorpus:
        """The target's and the reference's sentences of a role."""
        return only(self.tokens(role, lm), self.target, self.reference)

    def training_tokens(self, lm: LanguageModel | None = None) -> TokenizedCorpus:
        """What autoencoders are trained on: the pair's sentences of `train`, or all of them."""
        return self.tokens("train", lm) if self.recipe.sae.text == "all" else self.pair_tokens("train", lm)

    @cached_property
    def stream(self) -> TextStream | None:
        """The text of `sae.stream`; None where autoencoders are trained on `train`.

        Raises:
            GlossaeError: its form is unknown.
        """
        said = self.recipe.sae.stream
        with _of_stream():
            return None if said is None else parse_stream(said)

    def trained_text(self) -> Inputs:
        """What the text that autoencoders are trained on depends on: of a stream, every role's text is left out.

        Raises:
            GlossaeError: a file of the stream is missing, or the hub cannot be asked.
        """
        if self.stream is None:
            return Inputs(("train",))
        with _of_stream():
            return Inputs(tuple(self.roles.corpora), {"stream": self.stream.identity})

    def check_sources(self) -> None:
        """Read the given autoencoder, or look at the stream, so that what is wrong is found before a model is loaded.

        Raises:
            GlossaeError: the autoencoder cannot be read or fetched, or as `trained_text`.
        """
        if self.given is None and self.stream is not None:
            with _of_stream():
                self.stream.check()
            self.trained_text()

    def streamed_tokens(self, lm: LanguageModel, progress: Progress) -> StreamedTokens:
        """The text of `sae.stream` as token ids of a model, without the sentences of every role but `train`.

        Raises:
            GlossaeError: as `stream_tokens`.
        """
        stream, wanted = self.stream, self.recipe.sae.tokens
        assert stream is not None
        assert wanted is not None
        roles = self.roles.corpora.items()
        tested = sentence_keys(each for role, own in roles if role != "train" for each in own.sentences)
        with _of_stream():
            return stream_tokens(
                lm,
                stream,
                tokens=wanted,
                longest=longest_text(self.recipe, lm),
                tested=tested,
                progress=progress,
            )

    @cached_property
    def site(self) -> Site:
        """The run's site, at the recipe's layer or at the one that the stage `probe` chose, once that is done."""
        layer = self.recipe.layer
        if layer == "auto":
            probe = self.folder.summary("probe").probe
            assert probe is not None
            layer = probe.best_layer
        return self.site_at(layer)

    @property
    def resampling(self) -> dict[str, int]:
        """How the intervals of a run are drawn: the arguments `draws` and `seed`."""
        return {"draws": self.recipe.effects.bootstrap, "seed": self.recipe.seed}

    def site_at(self, layer: int) -> Site:
        """The run's site at a layer."""
        return Site(self.recipe.site, layer)

    @property
    def reads_panel(self) -> tuple[str, ...]:
        """The roles of the text that units are tested on: the panel or else `select`, and what replicates it."""
        given = tuple(role for role in OPTIONAL if role in self.roles.corpora)
        return given if "panel" in given else (*given, "select")

    @cached_property
    def base(self) -> dict[str, Any]:
        """What every stage's fingerprint covers: the model and how text enters it."""
        recipe = self.recipe
        return {
            "glossae": __version__,
            "schema_version": SCHEMA_VERSION,
            "model": model_identity(recipe.model),
            # what `auto` is depends on the device; a finished stage stands on another one, and is named
            "dtype": str(resolve_dtype(recipe.dtype, resolve_device(recipe.device))),
            "bos": recipe.bos,
            "chat": recipe.chat,
            "max_tokens": recipe.max_tokens,
            "batch_tokens": recipe.batch_tokens,
            "languages": recipe.languages.model_dump(),
            "site": recipe.site,
            "protocol": recipe.protocol,
            "seed": recipe.seed,
        }

    @cached_property
    def device(self) -> str:
        """The device that the run computes on, and of a GPU its name."""
        device = resolve_device(self.recipe.device)
        name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
        return f"{device}{name}"

    @property
    def environment(self) -> dict[str, Any]:
        """What a stage's last bits depend on besides its inputs."""
        return {
            "torch": version("torch"),
            "threads": torch.get_num_threads(),
            "device": self.device,
            "ranks": ranks.world()[1],
        }

    def pieces(self, inputs: Inputs) -> dict[str, str]:
        """A hash of each thing that a stage depends on, by name: settings, the text of a role, an earlier stage."""
        return {name: fingerprint(value) for name, value in self._depends(inputs).items()}

    def _depends(self, inputs: Inputs) -> dict[str, Any]:
        text = {f"corpora.{role}": self.roles.corpora[role].sha256 for role in inputs.roles}
        after = {f"stage {what}": self.folder.outputs(what) for what in inputs.after}
        return {**self.base, "habits": self.habits, **text, **inputs.settings, **after}

    def identity(self, *roles: str, **settings: Any) -> str:
        """A hash over what decides a bit of a training: text, settings, and the device."""
        return fingerprint([self._depends(Inputs(roles, settings)), self.device])

    def fingerprints(self, inputs: Inputs) -> tuple[str, str]:
        """Of a stage's inputs: what its parts depend on, which is the device, too, and the whole."""
        own = self._depends(inputs)
        return fingerprint([own, self.device]), fingerprint([own, inputs.statistics])


@contextmanager
def _of_stream() -> Iterator[None]:
    """In the block, errors that name no setting are of `sae.stream`."""
    try:
        yield
    except GlossaeError as error:
        raise error if str(error).startswith("sae.") else GlossaeError(f"sae.stream: {error}") from error


def only(tokens: TokenizedCorpus, *languages: str) -> TokenizedCorpus:
    """The sentences in some languages."""
    return tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language in languages])


def _close(in_half: float, loss: float | None) -> bool:
    return loss is not None and abs(in_half - loss) <= HALF_COSTS


# sentences of each language on which a model's habits are looked at, and tokens of each
HABIT_SENTENCES, HABIT_TOKENS = 24, 64
# nats a token by which the loss may differ there for a CPU to go on in bfloat16
HALF_COSTS = 0.005


def habit_sample(corpus: Corpus, languages: tuple[str, str]) -> Corpus:
    """The first sentences of some languages, on which a model's habits are looked at."""
    return Corpus.of(
        [sentence for code in languages for sentence in corpus.only(code).sentences[:HABIT_SENTENCES]]
    )


def find_habits(lm: LanguageModel, sample: Corpus, recipe: Recipe) -> tuple[Beginning, list[FoundSinks]]:
    """Find what a model's texts begin with, and its attention sinks at the recipe's site of every layer.

    Args:
        lm: the model.
        sample: sentences to look at.
        recipe: says whether a BOS or a chat is asked for, and the site.

    Raises:
        GlossaeError: a BOS or a chat is asked for and the tokenizer has none.
    """
    begun = decide_beginning(lm, sample, recipe.bos, chat=recipe.chat, max_tokens=HABIT_TOKENS)
    prefix = dataclasses.replace(lm, bos=begun.bos, chat=begun.chat).prefix
    tokens = tokenize(lm, sample, max_tokens=HABIT_TOKENS + len(begun.chat), prefix=prefix)
    sites = [Site(recipe.site, layer) for layer in range(lm.layers)]
    return begun, find_sinks(lm, tokens, sites, budget=recipe.batch_tokens)


def sinks_line(found: Sequence[FoundSinks], *, by_the_paper: bool) -> str | None:
    """One line that says at which layers there are attention sinks, and what becomes of them; None without any."""
    some = [each for each in found if each.count]
    if not some:
        return None
    worst = max(some, key=lambda each: abs(math.log((each.norm or 1) / each.median)))
    layers = ", ".join(str(each.site.layer) for each in some)
    fate = (
        "they are trained on and edited, as in the paper"
        if by_the_paper
        else "they are left out of training, averages and edits"
    )
    return (
        f"attention sinks at {worst.site.name}, layers {layers}: {worst.count} of {worst.tokens} tokens at layer "
        f"{worst.site.layer}, {worst.first} of them the first of their text (norm {worst.norm:,.0f}, other tokens "
        f"{worst.median:,.0f}); {fate}"
    )


def load_model(recipe: Recipe, name: str) -> LanguageModel:
    """Load a model by the name a recipe gives it; `toy` is the one that is shipped.

    Raises:
        GlossaeError: as `lm.load`.
    """
    device = resolve_device(recipe.device)
    where = recipe.device if recipe.device == SPLIT else device
    place = str(toy_model()) if name == TOY else name
    lm = load(place, device=where, dtype=resolve_dtype(recipe.dtype, device))
    return dataclasses.replace(lm, name=name)


def model_identity(name: str) -> str:
    """What tells two models of the same name apart: for a folder, its files; for the hub, the commit.

    The commit is the one that the name was when the hub was last asked, so that no network is needed here.
    """
    path = path_named(name)
    if name == TOY:
        path = toy_model()
    if not path.exists():
        return f"{name} {known_commit(name)}"
    digest = hashlib.sha256(name.encode())
    for file in [path] if path.is_file() else sorted(path.iterdir()):
        if file.is_file():
            # weights are gigabytes: their size and time stand for them, small files for themselves
            stat = file.stat()
            small = file.read_bytes() if stat.st_size < 2**20 else f"{stat.st_mtime_ns}".encode()
            digest.update(f"{file.name} {stat.st_size}".encode() + small)
    return digest.hexdigest()[:16]


def longest_text(recipe: Recipe, lm: LanguageModel) -> int:
    """How many tokens a text is cut to, what stands before it counted.

    Raises:
        GlossaeError: `max_tokens` asks for more than the model has positions for.
    """
    if recipe.max_tokens == "auto":
        return min(MAX_TOKENS, lm.max_positions)
    check_length("max_tokens", recipe.max_tokens, lm)
    return recipe.max_tokens


def check_length(key: str, tokens: int, lm: LanguageModel) -> None:
    """Refuse a length that the model has no positions for; `key` is the setting that asks for it."""
    check_positions(key, tokens, lm.name, lm.max_positions)
