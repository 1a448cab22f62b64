"""Sets of units switched off side by side, on samples that grow until the changes of loss are known well enough."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sprog.effects.bootstrap import Clusters, resampled_sums
from sprog.lm import (
    LanguageModel,
    Site,
    SiteEdit,
    TokenEdit,
    TokenizedCorpus,
    edits,
    growing,
    half_width,
    narrow_enough,
    replayed_losses,
    sentence_losses,
)


@dataclass(frozen=True)
class UnitSet:
    """Units that are switched off together.

    Attributes:
        group: what they are of, such as `trained` or `untrained`; sets of one group and size differ by their seed.
        seed: which of the group's draws they are of; 0 where there is but one.
        size: how many units.
        members: their numbers, where they have any.
        edit: what switches them off at the site; or edits at several sites.
        dose: 1 switches off; another one is what damage was matched at.
        at: the damage that was matched, nats a token of the target; None where units are just switched off.
    """

    group: str
    seed: int
    size: int
    members: tuple[int, ...]
    edit: TokenEdit | tuple[SiteEdit, ...]
    dose: float = 1.0
    at: float | None = None


@dataclass(frozen=True)
class Switched:
    """What switching sets off does to each sentence that was measured.

    Attributes:
        tokens: the sentences that were measured.
        raw: their summed loss under the model as it is, nats.
        change: by how much each set raises it, nats.
    """

    tokens: TokenizedCorpus
    raw: Float[np.ndarray, " sentences"]
    change: Float[np.ndarray, "sets sentences"]

    def rows(self, language: str) -> Int[np.ndarray, " chosen"]:
        """The numbers of a language's sentences."""
        return np.flatnonzero([s.language == language for s in self.tokens.corpus.sentences])

    def mean(self, language: str) -> Float[np.ndarray, " sets"]:
        """The mean change by set, nats a token."""
        rows = self.rows(language)
        found: Float[np.ndarray, " sets"] = self.change[:, rows].sum(1) / self.tokens.predicted[rows].sum()
        return found

    def per_byte(self, language: str) -> Float[np.ndarray, " sets"]:
        """The mean change by set, nats a byte of UTF-8."""
        rows = self.rows(language)
        found: Float[np.ndarray, " sets"] = (
            self.change[:, rows].sum(1) / self.tokens.predicted_bytes[rows].sum()
        )
        return found

    def resampled(self, language: str, *, draws: int, seed: int) -> Float[np.ndarray, "draws sets"]:
        """The mean change by set, nats a token, in resamples of a language's documents (or pairs, or sentences)."""
        rows = self.rows(language)
        sums = resampled_sums(
            [*self.change[:, rows], self.tokens.predicted[rows]],
            draws=draws,
            seed=seed,
            clusters=Clusters.across(self.tokens.corpus, language),
        )
        found: Float[np.ndarray, "draws sets"] = sums[:, :-1] / sums[:, -1:]
        return found


def switch_off(
    lm: LanguageModel,
    site: Site,
    sets: Sequence[UnitSet],
    tokens: TokenizedCorpus,
    *,
    precision: float,
    seed: int,
    budget: int = 2048,
    progress: Callable[[float], None] = lambda _: None,
) -> Switched:
    """Switch every set off on random sentences of each language, ever more, until the changes are known.

    A language is done once, for every set, half the 95 % interval of the mean change is at most `precision` nats a
    token, or a tenth of the change; or once its text is at an end. Texts that a set does not touch are not run
    again, so a language whose text the units leave alone costs little.

    Args:
        lm: the model.
        site: where the sets are that have one edit.
        sets: what is switched off.
        tokens: the text.
        precision: half the width of an interval, nats a token.
        seed: of the order in which sentences are drawn.
        budget: tokens in a batch.
        progress: called with the share of the text that is done; the last call says 1.

    Raises:
        SprogError: an edit does not fit the site.
    """
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    raw, change = np.zeros(len(tokens)), np.zeros((len(sets), len(tokens)))
    measured: dict[str, Int[np.ndarray, " own"]] = {}
    open_ = set(languages)
    for sample in growing(languages, seed=seed):
        fresh = [sample[code][len(measured.get(code, ())) :] for code in sorted(open_) if code in sample]
        new = np.concatenate(fresh) if fresh else np.zeros(0, dtype=np.int64)
        if not len(new):
            break
        before, share = sum(map(len, measured.values())) / len(tokens), len(new) / len(tokens)
        raw[new], change[:, new] = _measured(
            lm,
            site,
            sets,
            tokens.take(new),
            budget,
            lambda done, before=before, share=share: progress(before + share * done),  # type: ignore[misc]
        )
        for code in sorted(open_):
            measured[code] = sample[code]
            if _known(change[:, sample[code]], tokens.predicted[sample[code]], precision):
                open_.discard(code)
    chosen = np.sort(np.concatenate(list(measured.values())))
    progress(1.0)
    return Switched(tokens.take(chosen), raw[chosen], change[:, chosen])


def _measured(
    lm: LanguageModel,
    site: Site,
    sets: Sequence[UnitSet],
    tokens: TokenizedCorpus,
    budget: int,
    progress: Callable[[float], None],
) -> tuple[Float[np.ndarray, " sentences"], Float[np.ndarray, "sets sentences"]]:
    here = [number for number, each in enumerate(sets) if not isinstance(each.edit, tuple)]
    fns = [sets[number].edit for number in here]
    losses = replayed_losses(
        lm,
        site,
        tokens,
        [None, *fns],  # type: ignore[list-item]
        budget=budget,
        progress=lambda done: progress(done * (len(here) + 1) / (len(sets) + 1)),
    )
    change = np.zeros((len(sets), len(tokens)))
    change[here] = losses[1:] - losses[0]
    for number, each in enumerate(sets):
        if isinstance(each.edit, tuple):
            with ExitStack() as stack:
                stack.enter_context(edits(lm, each.edit))
                change[number] = sentence_losses(lm, tokens, budget=budget) - losses[0]
    return losses[0], change


def _known(
    change: Float[np.ndarray, "sets sentences"], predicted: Int[np.ndarray, " sentences"], precision: float
) -> bool:
    """Whether every set's mean change is known as well as is asked for."""
    total = predicted.sum()
    return all(
        narrow_enough(half_width(own, predicted), float(own.sum() / total), precision) for own in change
    )
