"""What the stages of one run share: its recipe, its text, its model, its folder."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sprog._version import __version__
from sprog.corpora import Roles
from sprog.errors import SprogError
from sprog.files import fingerprint
from sprog.lm import (
    LanguageModel,
    Site,
    TokenizedCorpus,
    load,
    locate,
    resolve_device,
    resolve_dtype,
    tokenize,
)
from sprog.recipe import Recipe
from sprog.run.folder import RunFolder
from sprog.run.show import Show
from sprog.toy import toy_model

TOY = "toy"


@dataclass
class Context:
    """Shared by the stages; the model is loaded, and a role tokenized, when first asked for."""

    recipe: Recipe
    roles: Roles
    folder: RunFolder
    show: Show
    _tokens: dict[str, TokenizedCorpus] = field(default_factory=dict)

    @cached_property
    def lm(self) -> LanguageModel:
        """The run's language model."""
        return load_model(self.recipe, self.recipe.model, self.show)

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
        return self.lm if name == self.recipe.model else load_model(self.recipe, name, self.show)

    def tokens(self, role: str, lm: LanguageModel | None = None) -> TokenizedCorpus:
        """A role's text as token ids of the run's model, or of another one."""
        own = lm is None or lm is self.lm
        if own and role in self._tokens:
            return self._tokens[role]
        tokens = tokenize(
            lm or self.lm, self.roles.corpora[role], max_tokens=self.recipe.max_tokens, bos=self.recipe.bos
        )
        if own:
            self._tokens[role] = tokens
        return tokens

    def pair_tokens(self, role: str, lm: LanguageModel | None = None) -> TokenizedCorpus:
        """The target's and the reference's sentences of a role."""
        tokens = self.tokens(role, lm)
        wanted = (self.target, self.reference)
        return tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language in wanted])

    def site(self, layer: int) -> Site:
        """The run's site at a layer."""
        return Site(self.recipe.site, layer)

    @cached_property
    def base(self) -> dict[str, Any]:
        """What every stage's fingerprint covers: the model and how text enters it."""
        recipe = self.recipe
        return {
            "sprog": __version__,
            "model": model_identity(recipe.model),
            "device": str(resolve_device(recipe.device)),
            "dtype": recipe.dtype,
            "bos": recipe.bos,
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
        return fingerprint({**self.base, "text": text, **settings})


def load_model(recipe: Recipe, name: str, show: Show) -> LanguageModel:
    """Load a model by the name a recipe gives it; `toy` is trained on first use.

    Raises:
        SprogError: as `lm.load`.
    """
    device = resolve_device(recipe.device)
    place = name
    if name == TOY:
        with show.stage("toy", "training the toy language model, once") as report:
            place = str(toy_model(progress=report))
    lm = load(place, device=device, dtype=resolve_dtype(recipe.dtype, device))
    return dataclasses.replace(lm, name=name)


def check_other_models(recipe: Recipe) -> None:
    """Look for the models besides the run's own, so that a missing one is found before any work.

    Raises:
        SprogError: a folder is not there, or holds no model.
    """
    named = [("probe.models", name) for name in recipe.probe.models]
    if recipe.grid.wanted and recipe.grid.model is not None:
        named.append(("grid.model", recipe.grid.model))
    for key, name in named:
        try:
            if name != TOY:
                locate(name)
        except SprogError as error:
            raise SprogError(f"{key}: {str(error).removeprefix('model: ')}") from error


def model_identity(name: str) -> str:
    """What tells two models of the same name apart: for a folder, its files; for the hub, the name itself."""
    path = Path(name).expanduser()
    if name == TOY:
        path = toy_model()
    if not path.is_dir():
        return name
    digest = hashlib.sha256(name.encode())
    for file in sorted(path.iterdir()):
        if file.is_file():
            # weights are gigabytes: their size and time stand for them, small files for themselves
            stat = file.stat()
            small = file.read_bytes() if stat.st_size < 2**20 else f"{stat.st_mtime_ns}".encode()
            digest.update(f"{file.name} {stat.st_size}".encode() + small)
    return digest.hexdigest()[:16]


def check_latents(recipe: Recipe, lm: LanguageModel) -> int:
    """How many latents the autoencoder gets.

    Raises:
        SprogError: fewer than k.
    """
    width = lm.widths[recipe.site]
    latents = recipe.sae.latents if recipe.sae.latents is not None else (recipe.sae.expansion or 1) * width
    if recipe.sae.activation != "relu" and recipe.sae.k > latents:
        raise SprogError(
            f"sae.k: {recipe.sae.k} is more than the {latents} latents (sae.expansion times a width of {width})"
        )
    return latents


def check_grid(recipe: Recipe, lm: LanguageModel, layer: int) -> Site:
    """The site that the grid's autoencoders are trained on.

    Args:
        recipe: the run's.
        lm: the grid's model.
        layer: the run's, for a grid that names none.

    Raises:
        SprogError: the model has no such layer, or there are fewer latents than the largest k.
    """
    site = Site(recipe.site, layer if recipe.grid.layer is None else recipe.grid.layer)
    try:
        latents = recipe.grid.size(lm.width(site))
    except SprogError as error:
        raise SprogError(f"grid.{error}") from error
    if recipe.grid.k and max(recipe.grid.k) > latents:
        raise SprogError(f"grid.k: {max(recipe.grid.k)} is more than the {latents} latents")
    return site
