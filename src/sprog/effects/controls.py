"""What other units do: null sets, drawn many times, and p-values for what the selected ones do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sprog.effects.edits import Edit
from sprog.effects.operations import Reading
from sprog.errors import SprogError
from sprog.features import Latents
from sprog.lm import LanguageModel, Site, TokenEdit, TokenizedCorpus, replayed_losses
from sprog.sae import Sae

# tokens in a batch: what an edit makes of so few stays nearer to a CPU than of thousands
BUDGET = 1024


@dataclass(frozen=True)
class Rises:
    """The rise of the mean loss per token under each of some edits.

    Attributes:
        target, reference: of the two languages.
        nearest: the largest of all languages but the target; None where there is none but the reference.
    """

    target: Float[np.ndarray, " edits"]
    reference: Float[np.ndarray, " edits"]
    nearest: Float[np.ndarray, " edits"] | None = None

    def statistics(self) -> dict[str, Float[np.ndarray, " edits"]]:
        """What sets are compared by, for every edit: how much more the target loses, and how much it loses."""
        found = {"target - reference": self.target - self.reference, "target": self.target}
        return found if self.nearest is None else found | {"target - nearest": self.target - self.nearest}

    def take(self, place: slice) -> "Rises":
        """Some of the edits."""
        nearest = None if self.nearest is None else self.nearest[place]
        return Rises(self.target[place], self.reference[place], nearest)


@dataclass(frozen=True)
class Control:
    """A set's effect beside that of a control.

    Attributes:
        units, edit, value: the set that is looked at, and what is done to it.
        control: what it is held against: a null that is drawn, or one other set with an edit of its own.
        statistic: `target - reference`: the rise of the target's loss less that of the reference's, nats per token;
            `target`: the rise of the target's alone; `target - nearest`: less the largest of all other languages',
            where there are others.
        draws: how often the control was drawn; 1 for a set that is no draw.
        observed: the statistic of the set.
        null_mean, null_p95: of the draws; of one set its statistic, and nothing.
        p: (b + 1) / (draws + 1), b of the draws being as large as what was observed (Phipson and Smyth 2010); None for
            one set.
    """

    units: str
    edit: str
    value: float | None
    control: str
    control_edit: str
    statistic: str
    draws: int
    observed: float
    null_mean: float
    null_p95: float | None
    p: float | None


def measure_rises(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    fns: Sequence[TokenEdit],
    target: str,
    reference: str,
    *,
    budget: int = BUDGET,
    progress: Callable[[float], None] = lambda _: None,
) -> Rises:
    """Run a text under every edit; what is below the site is computed once a batch for all of them.

    Languages of the text besides the two count for `nearest`. Memory is one batch, and a number for each edit and
    sentence.

    Raises:
        SprogError: the text lacks one of the two languages, or an edit does not fit the site.
    """
    languages = np.array([s.language for s in tokens.corpus.sentences])
    for code in (target, reference):
        if code not in languages:
            raise SprogError(f"controls: there is no text in {code} to measure them on")
    losses = replayed_losses(lm, site, tokens, [None, *fns], budget=budget, progress=progress)
    rises = {}
    for code in tokens.corpus.languages:
        own = languages == code
        rises[code] = (losses[1:, own] - losses[0, own]).sum(1) / tokens.predicted[own].sum()
    others = [rises[code] for code in tokens.corpus.languages if code != target]
    return Rises(rises[target], rises[reference], np.max(others, axis=0) if len(others) > 1 else None)


def compare_with_draws(
    units: str, edit: Edit, observed: Rises, control: str, null: Rises, *, control_edit: str | None = None
) -> list[Control]:
    """A set's one edit against many draws, a row for each statistic.

    Args:
        units: the set's name.
        edit: what was done to it.
        observed: of that edit alone.
        control: what was drawn.
        null: of the draws.
        control_edit: what was done to them; None: the same.
    """
    rows, drawn = [], null.statistics()
    for name, values in observed.statistics().items():
        own, draws = float(values[0]), drawn[name]
        rows.append(
            Control(
                units,
                edit.operation,
                edit.value,
                control,
                control_edit or edit.operation,
                name,
                len(draws),
                own,
                float(draws.mean()),
                float(np.quantile(draws, 0.95)),
                p_value(own, draws),
            )
        )
    return rows


def compare_with_one(
    units: str, edit: Edit, observed: Rises, control: str, control_edit: str, other: Rises
) -> list[Control]:
    """A set's one edit beside another set's, a row for each statistic."""
    theirs = other.statistics()
    return [
        Control(
            units,
            edit.operation,
            edit.value,
            control,
            control_edit,
            name,
            1,
            float(values[0]),
            float(theirs[name][0]),
            None,
            None,
        )
        for name, values in observed.statistics().items()
    ]


def p_value(observed: float, null: Float[np.ndarray, " draws"]) -> float:
    """(b + 1) / (draws + 1), with b of the draws at least as large (Phipson and Smyth 2010, eq. 2): never 0."""
    return float((np.count_nonzero(null >= observed) + 1) / (len(null) + 1))


def redirected_edits(
    edit: Edit, sae: Sae, draws: int, *, seed: int
) -> list[Callable[[Float[Tensor, "tokens d"]], Float[Tensor, "tokens d"]]]:
    """An edit of latents that is written along random directions instead of their own, each of the same length.

    At every token as much is added as the edit would add, for every latent by itself: only the directions differ.

    Args:
        edit: `set`, `zero` or `mean`, error-preserving.
        sae: the autoencoder.
        draws: how many.
        seed: the same seed gives the same directions.

    Raises:
        SprogError: it is another edit.
    """
    if edit.operation not in ("set", "zero", "mean") or edit.splice:
        raise SprogError(f"controls: an edit '{edit.operation}' has no random directions in its place")
    reading = Reading(Latents(sae))
    generator = torch.Generator().manual_seed(seed)
    lengths = reading.units.direction(edit.units).detach().double().norm(dim=1)
    wanted = edit.targets or (0.0,) * len(edit.units)

    def one() -> TokenEdit:
        drawn = torch.randn(len(edit.units), sae.config.d_in, generator=generator, dtype=torch.float64)
        rows = (drawn / drawn.norm(dim=1, keepdim=True)).to(lengths) * lengths[:, None]

        def apply(x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
            base, now = reading.precise(x), reading.read(x, edit.units)
            change = torch.tensor(wanted, dtype=base.dtype, device=base.device) - now
            return torch.addmm(base, change, rows.to(base))

        return apply

    return [one() for _ in range(draws)]


def random_weights(sae: Sae, *, seed: int) -> Sae:
    """An autoencoder of the same shape that learned nothing: random directions, the encoder's the decoder's.

    Rows have the lengths that the other's have; the centre and the thresholds are the other's, so that as many latents
    fire.
    """
    other = Sae(sae.config)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(sae.W_dec.shape, generator=generator, dtype=torch.float64)
    drawn /= drawn.norm(dim=1, keepdim=True)
    with torch.no_grad():
        for mine, theirs in ((other.W_enc, sae.W_enc), (other.W_dec, sae.W_dec)):
            mine.copy_(drawn * theirs.double().cpu().norm(dim=1, keepdim=True))
        other.b_dec.copy_(sae.b_dec)
        if other.threshold is not None and sae.threshold is not None:
            other.threshold.copy_(sae.threshold)
    return other.to(sae.W_dec.device).requires_grad_(False)
