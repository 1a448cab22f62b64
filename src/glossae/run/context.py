"""What the stages of one run share: its recipe, its text, its model, its folder."""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from glossae._version import __version__
from glossae.errors import GlossaeError
from glossae.files import fingerprint, path_named
from glossae.hub import quietly
from glossae.lm import (
    MAX_TOKENS,
    SPLIT,
    Beginning,
    FoundSinks,
    LanguageModel,
    Passes,
    Site,
    TokenizedCorpus,
    begin,
    fast_bfloat16,
    find_sinks,
    known_commit,
    load,
    locate,
    look_up,
    loss_as_begun,
    resolve_device,
    resolve_dtype,
    tokenize,
    with_sinks,
)
from glossae.recipe import Recipe
from glossae.run.folder import PASSES, RunFolder
from glossae.run.given_sae import GivenSae, read_given
from glossae.run.parts import Parts
from glossae.run.room import check_room
from glossae.run.show import Show
from glossae.sae import check_fits
from glossae.text import Corpus, Roles
from glossae.toy import toy_model

TOY = "toy"


@dataclass
class Context:
    """Shared by the stages; the model is loaded, and a role tokenized, when first asked for.

    Attributes:
        recipe: the run's settings.
        roles: its text.
        folder: its folder.
        show: tells what is done.
        parts: of each stage that was begun or skipped, its finished parts.
    """

    recipe: Recipe
    roles: Roles
    folder: RunFolder
    show: Show
    parts: dict[str, Parts] = field(default_factory=dict)
    _tokens: dict[str, TokenizedCorpus] = field(default_factory=dict)
    _habits: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def lm(self) -> LanguageModel:
        """The run's language model, which knows what its texts begin with and which tokens are attention sinks."""
        lm = self._with_habits(load_model(self.recipe, self.recipe.model))
        # stages look at the same text with other units, and one that was cut off at the text it has looked at
        own = fingerprint([self.base, str(lm.model.dtype), [c.sha256 for c in self.roles.corpora.values()]])
        return dataclasses.replace(lm, passes=Passes(self.folder.path / PASSES, lm.model, own))

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
        with quietly(bars=False):
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
        if stored is None or stored["of"] != known:
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
                "tokenizer_adds_bos": begun.by_itself,
                "loss_with_bos": begun.loss_with,
                "loss_without_bos": begun.loss_without,
                "loss_in_chat": begun.loss_in_chat,
                "loss_in_bfloat16": in_half,
                "bfloat16": in_half is not None and _close(in_half, begun.loss),
                "sentences": begun.sentences,
                "warning": begun.warning,
                "sinks": [each.to_json() for each in found],
            }
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
        return loss_as_begun(lm, sample, begun, max_tokens=HABIT_TOKENS)

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
        tokens = self.tokens(role, lm)
        wanted = (self.target, self.reference)
        return tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language in wanted])

    def training_tokens(self, lm: LanguageModel | None = None) -> TokenizedCorpus:
        """What autoencoders are trained on: the pair's sentences of `train`, or all of them."""
        return self.tokens("train", lm) if self.recipe.sae.text == "all" else self.pair_tokens("train", lm)

    def site(self, layer: int) -> Site:
        """The run's site at a layer."""
        return Site(self.recipe.site, layer)

    @cached_property
    def base(self) -> dict[str, Any]:
        """What every stage's fingerprint covers: the model and how text enters it."""
        recipe = self.recipe
        return {
            "glossae": __version__,
            "model": model_identity(recipe.model),
            "device": str(resolve_device(recipe.device)),
            "dtype": recipe.dtype,
            "bos": recipe.bos,
            "chat": recipe.chat,
            "max_tokens": recipe.max_tokens,
            "batch_tokens": recipe.batch_tokens,
            "languages": dataclasses.asdict(recipe.languages),
            "site": recipe.site,
            "protocol": recipe.protocol,
            "seed": recipe.seed,
        }

    def fingerprint(self, *roles: str, **settings: Any) -> str:
        """A stage's fingerprint: the base, the text of `roles`, and the settings it looks at."""
        text = {role: self.roles.corpora[role].sha256 for role in roles}
        return fingerprint({**self.base, "habits": self.habits, "text": text, **settings})


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
    begun = begin(lm, sample, recipe.bos, chat=recipe.chat, max_tokens=HABIT_TOKENS)
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


def check_other_models(recipe: Recipe) -> None:
    """Look for the models besides the run's own, so that a missing one is found before any work.

    Of a model on the hub the configuration is fetched, but not the weights.

    Raises:
        GlossaeError: a folder is not there, or holds no model; the hub has none, or none that can be used.
    """
    named = [("probe.models", name) for name in recipe.probe.models]
    if recipe.grid.wanted and recipe.grid.model is not None:
        named.append(("grid.model", recipe.grid.model))
    for key, name in named:
        try:
            if name != TOY and locate(name) is None:
                look_up(name)
        except GlossaeError as error:
            raise GlossaeError(f"{key}: {str(error).removeprefix('model: ')}") from error


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


def check_latents(recipe: Recipe, lm: LanguageModel) -> int:
    """How many latents the autoencoder gets.

    Raises:
        GlossaeError: fewer than k, or more than there is memory for.
    """
    width = lm.widths[recipe.site]
    latents = recipe.sae.latents if recipe.sae.latents is not None else (recipe.sae.expansion or 1) * width
    if recipe.sae.activation != "relu" and recipe.sae.k > latents:
        raise GlossaeError(
            f"sae.k: {recipe.sae.k} is more than the {latents} latents (sae.expansion times a width of {width})"
        )
    check_room(recipe, lm, "sae", latents, [recipe.sae.tied])
    return latents


def check_given(context: Context) -> None:
    """Hold what the recipe names of an autoencoder and of its units against the model.

    Raises:
        GlossaeError: the autoencoder cannot be had or belongs elsewhere, or it has no such unit.
    """
    recipe, lm, given = context.recipe, context.lm, context.given
    if given is None:
        latents = check_latents(recipe, lm)
    else:
        config = given.sae.config
        latents = config.latents
        if recipe.layer == "auto" and config.site:
            raise GlossaeError(
                f"layer: the autoencoder of sae.from is of layer {config.layer}, and auto may choose another: "
                f"give --layer {config.layer}"
            )
        layer = config.layer if recipe.layer == "auto" else recipe.layer
        check_fits(given.sae, d_in=lm.widths[recipe.site], model=recipe.model, site=recipe.site, layer=layer)
    for unit in recipe.features.units:
        if unit >= latents:
            raise GlossaeError(
                f"features.units: there is no latent {unit}: the autoencoder has 0 to {latents - 1}"
            )


def longest_text(recipe: Recipe, lm: LanguageModel) -> int:
    """How many tokens a text is cut to, what stands before it counted.

    Raises:
        GlossaeError: `max_tokens` asks for more than the model has positions for.
    """
    if recipe.max_tokens == "auto":
        return min(MAX_TOKENS, lm.max_positions)
    _check_length("max_tokens", recipe.max_tokens, lm)
    return recipe.max_tokens


def check_lengths(recipe: Recipe, lm: LanguageModel) -> None:
    """Does the model have positions for the lengths that the recipe asks for?

    Raises:
        GlossaeError: it does not.
    """
    longest_text(recipe, lm)
    if recipe.effects.prompts:
        _check_length("effects.max_length", recipe.effects.max_length + len(lm.chat), lm)
    if recipe.steering.wanted:
        longest = recipe.steering.prompt_tokens + recipe.steering.tokens + len(lm.prefix)
        _check_length("steering.tokens: with steering.prompt_tokens", longest, lm)


def _check_length(key: str, tokens: int, lm: LanguageModel) -> None:
    if tokens > lm.max_positions:
        raise GlossaeError(
            f"{key}: {tokens} is more than the {lm.max_positions} tokens that {lm.name} has positions for"
        )


def check_grid(recipe: Recipe, lm: LanguageModel, layer: int) -> Site:
    """The site that the grid's autoencoders are trained on.

    Args:
        recipe: the run's.
        lm: the grid's model.
        layer: the run's, for a grid that names none.

    Raises:
        GlossaeError: the model has no such layer, or there are fewer latents than the largest k, or there
            is no memory for so many.
    """
    site = Site(recipe.site, layer if recipe.grid.layer is None else recipe.grid.layer)
    try:
        latents = recipe.grid.size(lm.width(site))
    except GlossaeError as error:
        raise GlossaeError(f"grid.{error}") from error
    if recipe.grid.k and max(recipe.grid.k) > latents:
        raise GlossaeError(f"grid.k: {max(recipe.grid.k)} is more than the {latents} latents")
    tied = [one for one in recipe.grid.tied for _ in recipe.grid.pre_encoder_bias]
    check_room(recipe, lm, "grid", latents, tied * (len(recipe.grid.k) + len(recipe.grid.l1)))
    return site
