"""Prompts continued under families of edits over doses: how often it is the target language, and at what cost."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from glossae.effects import NEAR, Arrays, Clusters, Edit, Family, Keep, doses_at, keep_nothing
from glossae.errors import GlossaeError
from glossae.find import identify
from glossae.lm import LanguageModel, Site, TokenizedCorpus, continue_tokens, edit, replayed
from glossae.steering.language_of import Identified, language_of
from glossae.steering.written import Ids, Ratio, continuation_losses, distinct, repetition, resamples

# nats a token of KL on reference text at which families are compared
MATCHED_KL = (0.1, 0.3, 1.0)
RAW = "raw"
NO_ANSWER = "unanswered"

Shares = dict[str, float]
"""Of all continuations, the share in each language; `unanswered` holds the rest."""


@dataclass(frozen=True)
class SteeredArm:
    """Every prompt continued under one edit, and what the edit does to reference text.

    Attributes:
        family: whose edit it is; `raw` is the model as it is.
        kind: of its units.
        operation: what is done with them.
        units: how many.
        value: the dose; None for raw.
        at: the KL that this dose was looked for; None for a dose that was given.
        kl: KL(p || p_steered), nats a token, on reference text, with its 95 % interval over sentences.
        agreement: the share of tokens on reference text at which the most probable one stayed the same.
        success: the share of continuations in the target language, by both identifiers where there are two.
        repetition: the share of 4-grams of tokens that stood before in the same continuation.
        distinct_1, distinct_2: different tokens, and pairs of them, over all there are.
        loss: nats a token of the continuations under the model as it is.
        tokens: new tokens a continuation.
        shares: by identifier (`ngrams`, `lingua`, `both`) the share of each language; null without lingua.
        on_front: whether no other arm has more success at a KL no larger (2 % do not count).
    """

    family: str
    kind: str | None
    operation: str | None
    units: int
    value: float | None
    at: float | None
    kl: float
    kl_low: float
    kl_high: float
    agreement: float
    success: float
    success_low: float
    success_high: float
    repetition: float | None
    repetition_low: float | None
    repetition_high: float | None
    distinct_1: float | None
    distinct_2: float | None
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    tokens: float
    shares: dict[str, Shares | None]
    on_front: bool


@dataclass(frozen=True)
class Steered:
    """What came of it.

    Attributes:
        arms: raw first, then family by family in the order of doses.
        unreached: by family, the KL that no dose came to.
        texts: by arm, its continuations.
        answers: by arm, their languages.
    """

    arms: list[SteeredArm]
    unreached: dict[str, list[float]]
    texts: list[list[str]]
    answers: list[Identified]


@dataclass(frozen=True)
class _Damage:
    kl: Float[np.ndarray, " sentences"]
    agreed: Float[np.ndarray, " sentences"]


def steer(
    lm: LanguageModel,
    site: Site,
    families: Sequence[Family],
    prompts: Ids,
    reference: TokenizedCorpus,
    ngrams: identify.NgramModel,
    target: str,
    *,
    doses: Sequence[float],
    at: Sequence[float] = MATCHED_KL,
    new_tokens: int = 20,
    ending: bool = False,
    sample: int | None = None,
    draws: int = 1000,
    seed: int = 0,
    clusters: Clusters | None = None,
    budget: int = 1024,
    keep: Keep = keep_nothing,
    progress: Callable[[float], None] = lambda _: None,
) -> Steered:
    """Steer prompts by each family at each dose, and at the doses that have these KL on reference text.

    Args:
        lm: the model.
        site: where the units are.
        families: what is compared.
        prompts: token ids, two or more each.
        reference: held-out text of the language of the prompts, on which KL is measured.
        ngrams: the identifier of the run's languages.
        target: the language wanted.
        doses: above zero; one at least.
        at: KL to compare families at, nats a token.
        new_tokens: of each continuation, at most.
        ending: whether a continuation may end before that; where it may, short ones are left unanswered.
        sample: the seed of a draw; None is greedy.
        draws: bootstrap resamples.
        seed: theirs.
        clusters: of the prompts, what is drawn whole; None: each by itself.
        budget: tokens in a batch.
        keep: what an arm writes is a part of the work, and so is each search for doses.
        progress: called with the share that is done.

    Raises:
        GlossaeError: there is no prompt or no reference text, a dose is not above zero, or as in `continue_tokens`.
    """
    if not len(prompts):
        raise GlossaeError("steering: there is no prompt")
    if not len(reference):
        raise GlossaeError("steering: there is no reference text to measure KL on")
    if not doses or min(doses) <= 0:
        raise GlossaeError("steering: doses have to be above zero, and there has to be one")
    each = clusters or Clusters(np.arange(len(prompts)), len(prompts))
    read = Clusters.within(reference.corpus, np.arange(len(reference)))
    weights = resamples(each, draws, seed), resamples(read, draws, seed + 1)
    arms: list[SteeredArm] = []
    texts: list[list[str]] = []
    answers: list[Identified] = []
    unreached: dict[str, list[float]] = {}
    expected = 1 + len(families) * (len(set(doses)) + len(at))

    def measure(family: Family | None, dose: float | None, level: float | None, harm: _Damage) -> None:
        change = None if family is None or dose is None else family.edit(dose)

        def write() -> Arrays:
            with _edited(lm, site, family, change):
                written = continue_tokens(lm, prompts, new_tokens=new_tokens, ending=ending, seed=sample)
            loss = continuation_losses(lm, prompts, written, budget=budget)
            return {"ids": np.concatenate(written), "nats": loss.over, "tokens": loss.under}

        kept = keep(RAW if family is None else f"{family.name}-{dose}", write)
        written = np.split(kept["ids"], np.cumsum(kept["tokens"]).astype(int)[:-1])
        loss = Ratio(kept["nats"], kept["tokens"])
        said = [text.strip() for text in lm.tokenizer.batch_decode(written, skip_special_tokens=True)]
        found = language_of(said, ngrams)
        arms.append(_arm(family, change, level, harm, reference, written, found, loss, target, weights))
        texts.append(said)
        answers.append(found)
        progress(min(1.0, len(arms) / expected))

    still = np.zeros(len(reference))
    measure(None, None, None, _Damage(still, reference.predicted.astype(np.float64)))
    for family in families:
        harm: dict[float, _Damage] = {}

        def damage(
            values: Sequence[float], family: Family = family, harm: dict[float, _Damage] = harm
        ) -> list[float]:
            found = keep(
                f"{family.name}-kl-{len(harm)}", partial(_damage, lm, site, family, values, reference, budget)
            )
            harm.update(zip(values, map(_Damage, found["kl"], found["agreed"]), strict=True))
            return [float(harm[value].kl.sum() / reference.predicted.sum()) for value in values]

        given = sorted(set(doses))
        known = dict(zip(given, damage(given), strict=True))
        found = doses_at(damage, known, at)
        unreached[family.name] = [level for level, dose in found.items() if dose is None]
        levels = {dose: level for level, dose in found.items() if dose is not None}
        for dose in sorted({*given, *levels}):
            measure(family, dose, levels.get(dose), harm[dose])
    progress(1.0)
    return Steered(_with_front(arms), unreached, texts, answers)


def _edited(
    lm: LanguageModel, site: Site, family: Family | None, change: Edit | None
) -> AbstractContextManager[None]:
    if family is None or change is None:
        return nullcontext()
    return edit(lm, site, change.compile(family.units), positions=change.positions)


def _damage(
    lm: LanguageModel, site: Site, family: Family, values: Sequence[float], text: TokenizedCorpus, budget: int
) -> Arrays:
    found = replayed(
        lm,
        site,
        text,
        family.compiled(values),
        positions=family.positions,
        side_effects=True,
        budget=budget,
    ).side_effects
    assert found is not None
    return {"kl": found.kl, "agreed": found.agreed}


def _arm(
    family: Family | None,
    change: Edit | None,
    level: float | None,
    harm: _Damage,
    reference: TokenizedCorpus,
    written: Ids,
    found: Identified,
    loss: Ratio,
    target: str,
    weights: tuple[np.ndarray, np.ndarray],
) -> SteeredArm:
    of_prompts, of_sentences = weights
    predicted = reference.predicted.astype(np.float64)
    kl, agreed = Ratio(harm.kl, predicted), Ratio(harm.agreed, predicted)
    hits = Ratio(np.array([float(answer == target) for answer in found.best]), np.ones(len(written)))
    repeated = repetition(written)
    # no KL is below zero, but sums of rounded numbers can be
    kl_low, kl_high = (max(0.0, value or 0.0) for value in kl.interval(of_sentences))
    success_low, success_high = hits.interval(of_prompts)
    repetition_low, repetition_high = repeated.interval(of_prompts)
    loss_low, loss_high = loss.interval(of_prompts)
    return SteeredArm(
        family=RAW if family is None else family.name,
        kind=None if family is None else family.of.kind,
        operation=None if change is None else change.operation,
        units=0 if family is None else len(family.ids),
        value=None if change is None else change.value,
        at=level,
        kl=max(0.0, kl.value or 0.0),
        kl_low=kl_low,
        kl_high=kl_high,
        agreement=agreed.value or 0.0,
        success=hits.value or 0.0,
        success_low=success_low or 0.0,
        success_high=success_high or 0.0,
        repetition=repeated.value,
        repetition_low=repetition_low,
        repetition_high=repetition_high,
        distinct_1=distinct(written, 1),
        distinct_2=distinct(written, 2),
        loss=loss.value,
        loss_low=loss_low,
        loss_high=loss_high,
        tokens=float(np.mean([len(ids) for ids in written])),
        shares={
            "ngrams": shares(found.ngrams),
            "lingua": None if found.lingua is None else shares(found.lingua),
            "both": None if found.both is None else shares(found.both),
        },
        on_front=False,
    )


def shares(answers: Sequence[str]) -> Shares:
    """The share of each answer, in order of the alphabet; what has none is `unanswered`."""
    named = [answer if answer != identify.UNANSWERED else NO_ANSWER for answer in answers]
    return {answer: named.count(answer) / len(named) for answer in sorted(set(named))}


def _with_front(arms: list[SteeredArm]) -> list[SteeredArm]:
    """Mark the arms that no other one beats: more success at no more KL, or as much at less, within what is near."""

    def beaten(arm: SteeredArm) -> bool:
        return any(
            (other.success > arm.success and other.kl <= (1 + NEAR) * arm.kl)
            or (other.success == arm.success and other.kl < (1 - NEAR) * arm.kl)
            for other in arms
        )

    return [SteeredArm(**(vars(arm) | {"on_front": not beaten(arm)})) for arm in arms]
