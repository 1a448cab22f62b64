"""Sets of units switched off side by side, on samples that grow until the changes of loss are known well enough."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from glossae.effects.bootstrap import Clusters, resampled_sums
from glossae.effects.next_token import Arrays, Keep, keep_nothing
from glossae.lm import (
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
    worth_scoring,
)


@dataclass(frozen=True)
class UnitSet:
    """Units that are switched off together.

    Attributes:
        group: what they are of, such as `trained` or `untrained`; sets of one group and size differ by their seed.
        seed: which of the group's draws they are of; 0 where there is but one.
        size: how many units.
        members: their numbers, where they have any.
        dose: 1 switches off; another one is what damage was matched at.
        at: the damage that was matched, nats a token of the target; None where units are just switched off.
        edit: what switches them off at the site; or edits at several sites.
    """

    group: str
    seed: int
    size: int
    members: tuple[int, ...]
    dose: float = 1.0
    at: float | None = None
    edit: TokenEdit | tuple[SiteEdit, ...] = ()


@dataclass(frozen=True)
class Switched:
    """What switching sets off does to each sentence that was measured.

    Attributes:
        tokens: the sentences that were measured.
        index: which of the text's those are.
        raw: their summed loss under the model as it is, nats.
        change: by how much each set raises it, nats.
        used: whether a set was measured on a sentence: some need fewer of a language's; `change` is 0 elsewhere.
    """

    tokens: TokenizedCorpus
    index: Int[np.ndarray, " sentences"]
    raw: Float[np.ndarray, " sentences"]
    change: Float[np.ndarray, "sets sentences"]
    used: Bool[np.ndarray, "sets sentences"]

    def rows(self, language: str) -> Int[np.ndarray, " chosen"]:
        """The numbers of a language's sentences."""
        return np.flatnonzero([s.language == language for s in self.tokens.corpus.sentences])

    def mean(self, language: str) -> Float[np.ndarray, " sets"]:
        """The mean change by set, nats a token."""
        return self._means(language, self.tokens.predicted)

    def per_byte(self, language: str) -> Float[np.ndarray, " sets"]:
        """The mean change by set, nats a byte of UTF-8."""
        return self._means(language, self.tokens.predicted_bytes)

    def sentences(self, language: str) -> Int[np.ndarray, " sets"]:
        """On how many of a language's sentences each set was measured."""
        found: Int[np.ndarray, " sets"] = self.used[:, self.rows(language)].sum(1)
        return found

    def _means(self, language: str, sizes: Int[np.ndarray, " sentences"]) -> Float[np.ndarray, " sets"]:
        rows = self.rows(language)
        found: Float[np.ndarray, " sets"] = self.change[:, rows].sum(1) / (self.used[:, rows] @ sizes[rows])
        return found

    def resampled(self, language: str, *, draws: int, seed: int) -> Float[np.ndarray, "draws sets"]:
        """The mean change by set, nats a token, in resamples of a language's documents (or pairs, or sentences)."""
        rows = self.rows(language)
        sums = resampled_sums(
            [*self.change[:, rows], *(self.used[:, rows] * self.tokens.predicted[rows])],
            draws=draws,
            seed=seed,
            clusters=Clusters.across(self.tokens.corpus, language),
        )
        with np.errstate(invalid="ignore"):
            found: Float[np.ndarray, "draws sets"] = np.divide(*np.split(sums, 2, axis=1))
        return found


def switch_off(
    lm: LanguageModel,
    site: Site,
    sets: Sequence[UnitSet],
    tokens: TokenizedCorpus,
    *,
    precision: float,
    seed: int,
    budget: int = 1024,
    keep: Keep = keep_nothing,
    progress: Callable[[float], None] = lambda _: None,
) -> Switched:
    """Switch every set off on random sentences of each language, ever more, until the changes are known.

    A set is done in a language once half the 95 % interval of its mean change there is at most `precision` nats a
    token, or a tenth of the change; or once the text is at an end. One of edits at several sites, for which the whole
    model has to be run, is done after the first sample. Samples begin alike, so that sets are held against
    each other on the same sentences as far as both go. Losses are computed of some tokens of each sentence
    (`worth_scoring`), and texts that a set does not touch are not run again.

    Args:
        lm: the model.
        site: where the sets are that have one edit.
        sets: what is switched off.
        tokens: the text.
        precision: half the width of an interval, nats a token.
        seed: of the order in which sentences are drawn.
        budget: tokens in a batch.
        keep: each sample of a language is a part of the work.
        progress: called with the share of the text that is done; the last call says 1.

    Raises:
        GlossaeError: an edit does not fit the site.
    """
    tokens = tokens.scoring(worth_scoring(lm, site, tokens))
    raw, change = np.zeros(len(tokens)), np.zeros((len(sets), len(tokens)))
    used = np.zeros(change.shape, dtype=bool)
    open_ = {code: np.arange(len(sets)) for code in tokens.corpus.languages}
    measured = dict.fromkeys(open_, 0)
    samples = growing([sentence.language for sentence in tokens.corpus.sentences], seed=seed)
    for step, sample in enumerate(samples):
        for code, numbers in open_.items():
            own = sample[code]
            new = own[measured[code] :]
            if not len(numbers) or not len(new):
                continue
            before, share = sum(measured.values()) / len(tokens), len(new) / len(tokens)
            cells = np.ix_(numbers, new)
            work = partial(
                _measured,
                lm,
                site,
                [sets[number] for number in numbers.tolist()],
                tokens.take(new),
                budget,
                lambda x, before=before, share=share: progress(before + share * x),  # type: ignore[misc]
            )
            found = keep(f"{step}-{code}", work)
            raw[new], change[cells], used[cells] = found["raw"], found["change"], True
            measured[code] = len(own)
            known = [
                isinstance(sets[number].edit, tuple)
                or _known(change[number, own], tokens.predicted[own], precision)
                for number in numbers.tolist()
            ]
            open_[code] = numbers[~np.array(known)]
    chosen = np.flatnonzero(used.any(0))
    progress(1.0)
    return Switched(tokens.take(chosen), chosen, raw[chosen], change[:, chosen], used[:, chosen])


def _measured(
    lm: LanguageModel,
    site: Site,
    sets: Sequence[UnitSet],
    tokens: TokenizedCorpus,
    budget: int,
    progress: Callable[[float], None],
) -> Arrays:
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
    return {"raw": losses[0], "change": change}


def _known(
    change: Float[np.ndarray, " sentences"], predicted: Int[np.ndarray, " sentences"], precision: float
) -> bool:
    """Whether a set's mean change is known as well as is asked for."""
    return narrow_enough(half_width(change, predicted), float(change.sum() / predicted.sum()), precision)
