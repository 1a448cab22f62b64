"""Continue prompts under the edits of families over doses: the share of the target language, and the cost."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from glossae.effects import (
    NEAR,
    Arrays,
    Edit,
    Keep,
    UnitSet,
    apply_edit,
    doses_at,
    edit_columns,
    keep_nothing,
)
from glossae.errors import GlossaeError
from glossae.evidence import identify
from glossae.lm import (
    LanguageModel,
    Site,
    TokenizedCorpus,
    continue_prompts,
    continue_tokens,
    prompt_ids,
    replayed,
)
from glossae.results import Continuation, SteeredArm, SteeringExample
from glossae.sae import Sae
from glossae.stats import Clusters, bootstrap_weights
from glossae.steering.measures import (
    Ids,
    Ratio,
    TextLanguages,
    continuation_losses,
    distinct,
    identify_languages,
    repetition,
)
from glossae.units import Units

# the prompts of the paper's Tables 1 and 2
PROMPTS: dict[str, tuple[str, ...]] = {
    "da": (
        "En gang for længe siden var der",
        "Da han var ude og fiske så han",
        "Hver torsdag spiser hun",
        "Zooen har fået en ny",
    ),
    "en": (
        "Once upon a time there was a",
        "When he went fishing he saw",
        "Every thursday she eats",
        "The zoo got a new",
    ),
}
# KL on reference text at which families are compared, nats per token
MATCHED_KL = (0.1, 0.3, 1.0)
RAW = "raw"
NO_ANSWER = "unanswered"

LanguageShares = dict[str, float]
"""The share of continuations in each language; `unanswered` is the rest."""


@dataclass(frozen=True)
class Prompts:
    """The paper's prompts, then those cut from a text.

    Attributes:
        ids: what the model is given.
        texts: the same without what stands before them.
        papers: how many are the paper's.
        sentences: the whole sentences of the cut ones.
    """

    ids: list[np.ndarray]
    texts: list[str]
    papers: int
    sentences: TokenizedCorpus

    @property
    def clusters(self) -> Clusters:
        """The paper's prompts each by itself, then the others by document."""
        cut = Clusters.within(self.sentences.corpus, np.arange(len(self.sentences)))
        return Clusters(
            np.concatenate([np.arange(self.papers), self.papers + cut.of]), self.papers + cut.count
        )


def cut_prompts(
    lm: LanguageModel, tokens: TokenizedCorpus, language: str, *, count: int, length: int, new_tokens: int
) -> Prompts:
    """The paper's prompts in a language, and the first tokens of sentences of a text.

    Args:
        count: at most so many sentences.
        length: tokens of a prompt; a sentence has twice as many, or it would be ended and not continued.
        new_tokens: what the model has to have room for; longer ones of the paper's prompts are left out.

    Raises:
        GlossaeError: no sentence is long enough.
    """
    long = [
        number
        for number, sentence in enumerate(tokens.corpus.sentences)
        if sentence.language == language and len(tokens.ids[number]) >= tokens.prefix + 2 * length
    ][:count]
    if not long:
        raise GlossaeError(
            f"steering.prompt_tokens: to cut a prompt of {length} a sentence has to have twice as many tokens, and "
            f"test has none in {language}"
        )
    papers = {text: np.array(prompt_ids(lm, text), dtype=np.int64) for text in PROMPTS.get(language, ())}
    # a tokenizer that knows few words makes long prompts, for which small models have no room
    papers = {text: ids for text, ids in papers.items() if len(ids) + new_tokens <= lm.max_positions}
    prompts, texts = [*papers.values()], [*papers]
    for number in long:
        before, own = np.split(tokens.ids[number][: tokens.prefix + length], [tokens.prefix])
        texts.append(lm.tokenizer.decode(own, skip_special_tokens=True).strip())
        # in a chat a prompt is the user's turn, and what stands before texts ends where the reply begins
        prompts.append(np.array(prompt_ids(lm, texts[-1])) if lm.chat else np.concatenate([before, own]))
    return Prompts(prompts, texts, len(papers), tokens.take(long))


def continuations(
    lm: LanguageModel,
    site: Site,
    units: Sae | Units,
    languages: Sequence[str],
    edits: Sequence[Edit],
    *,
    name: str,
    max_tokens: int,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Continuation]:
    """Continue the prompts of each language without an edit, then under each edit."""
    rows = []
    for number, change in enumerate([None, *edits]):
        said = edit_columns(change)
        with apply_edit(lm, site, units, change):
            for language in languages:
                prompts = PROMPTS.get(language, ())
                texts = continue_prompts(lm, prompts, max_tokens=max_tokens)
                rows += [
                    Continuation(
                        prompt=prompt,
                        language=language,
                        units=name,
                        edit=said["edit"],
                        value=said["value"],
                        text=text,
                    )
                    for prompt, text in zip(prompts, texts, strict=True)
                ]
        progress((number + 1) / (len(edits) + 1))
    return rows


@dataclass(frozen=True)
class Steered:
    """The result of steering.

    Attributes:
        arms: raw first, then family by family in the order of doses.
        unreached: for each family, the KLs that no dose reached.
        texts: for each arm, its continuations.
        answers: for each arm, the languages of its continuations.
    """

    arms: list[SteeredArm]
    unreached: dict[str, list[float]]
    texts: list[list[str]]
    answers: list[TextLanguages]

    def examples(self, prompts: Sequence[str], count: int) -> list[SteeringExample]:
        """The continuations of the first prompts, raw and at the KL that families are compared at."""
        return [
            SteeringExample(
                prompt=prompts[number],
                family=arm.family,
                value=arm.value,
                at=arm.at,
                text=texts[number],
                language=None if found.best[number] == identify.UNANSWERED else found.best[number],
            )
            for number in range(min(count, len(prompts)))
            for arm, texts, found in zip(self.arms, self.texts, self.answers, strict=True)
            if arm.value is None or arm.at is not None
        ]


def steer(
    lm: LanguageModel,
    site: Site,
    families: Sequence[UnitSet],
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
    """Steer prompts by each family at each dose, and at the doses that have given KLs on reference text.

    Args:
        prompts: token ids, two or more each.
        reference: held-out text in the language of the prompts, on which KL is measured.
        doses: above zero; at least one.
        at: the KLs to compare families at, nats per token.
        ending: whether a continuation may end early; short ones are then left unanswered.
        sample: the seed of sampling; None is greedy.
        clusters: the cluster of each prompt, for resampling; None: each prompt is its own.
        keep: an arm's continuations are one part, and so is each search for doses.

    Raises:
        GlossaeError: there is no prompt or no reference text, a dose is not above zero, or as for
            `continue_tokens`.
    """
    if not len(prompts):
        raise GlossaeError("steering: there is no prompt")
    if not len(reference):
        raise GlossaeError("steering: there is no reference text to measure KL on")
    if not doses or min(doses) <= 0:
        raise GlossaeError("steering: doses have to be above zero, and there has to be one")
    each = clusters or Clusters(np.arange(len(prompts)), len(prompts))
    read = Clusters.within(reference.corpus, np.arange(len(reference)))
    of_prompts, of_sentences = (
        bootstrap_weights(np.random.default_rng(own), found.count, draws)[:, found.of]
        for found, own in ((each, seed), (read, seed + 1))
    )
    predicted = reference.predicted.astype(np.float64)
    arms: list[SteeredArm] = []
    texts: list[list[str]] = []
    answers: list[TextLanguages] = []
    unreached: dict[str, list[float]] = {}
    expected = 1 + len(families) * (len(set(doses)) + len(at))

    def measure(family: UnitSet | None, dose: float | None, level: float | None, harm: Arrays) -> None:
        change = None if family is None or dose is None else family.edit(dose)
        name = RAW if family is None else family.name

        def write() -> Arrays:
            with nullcontext() if family is None else apply_edit(lm, site, family.all_units, change):
                written = continue_tokens(lm, prompts, new_tokens=new_tokens, ending=ending, seed=sample)
            loss = continuation_losses(lm, prompts, written, budget=budget)
            return {"ids": np.concatenate(written), "nats": loss.numerators, "tokens": loss.denominators}

        kept = keep(name if family is None else f"{name}-{dose}", write)
        written = np.split(kept["ids"], np.cumsum(kept["tokens"]).astype(int)[:-1])
        said = [text.strip() for text in lm.tokenizer.batch_decode(written, skip_special_tokens=True)]
        found = identify_languages(said, ngrams)
        hits = np.array([float(answer == target) for answer in found.best])
        # a KL is not negative, but a sum of rounded numbers can be
        kl = _numbers("kl", Ratio(harm["kl"], predicted), of_sentences)
        kl = {key: max(0.0, value or 0.0) for key, value in kl.items()}
        success = _numbers("success", Ratio(hits, np.ones(len(written))), of_prompts)
        arm = SteeredArm(
            family=name,
            kind=None if family is None else family.all_units.kind,
            operation=None if change is None else change.operation,
            units=0 if family is None else len(family.ids),
            value=None if change is None else change.value,
            at=level,
            **kl,
            agreement=Ratio(harm["agreed"], predicted).value or 0.0,
            **success,
            **_numbers("repetition", repetition(written), of_prompts),
            distinct_1=distinct(written, 1),
            distinct_2=distinct(written, 2),
            **_numbers("loss", Ratio(kept["nats"], kept["tokens"]), of_prompts),
            tokens=float(np.mean([len(ids) for ids in written])),
            shares={
                by: None if (own := getattr(found, by)) is None else language_shares(own)
                for by in ("ngrams", "lingua", "both")
            },
        )
        arms.append(arm)
        texts.append(said)
        answers.append(found)
        progress(min(1.0, len(arms) / expected))

    measure(None, None, None, {"kl": np.zeros(len(reference)), "agreed": predicted})
    for family in families:
        harm: dict[float, Arrays] = {}

        def damage(
            values: Sequence[float], family: UnitSet = family, harm: dict[float, Arrays] = harm
        ) -> list[float]:
            work = partial(_damage, lm, site, family, values, reference, budget)
            found = keep(f"{family.name}-kl-{len(harm)}", work)
            harm |= {value: {name: found[name][row] for name in found} for row, value in enumerate(values)}
            return [float(harm[value]["kl"].sum() / reference.predicted.sum()) for value in values]

        given = sorted(set(doses))
        found = doses_at(damage, dict(zip(given, damage(given), strict=True)), at)
        unreached[family.name] = [level for level, dose in found.items() if dose is None]
        levels = {dose: level for level, dose in found.items() if dose is not None}
        for dose in sorted({*given, *levels}):
            measure(family, dose, levels.get(dose), harm[dose])
    progress(1.0)
    return Steered(_with_front(arms), unreached, texts, answers)


def _damage(
    lm: LanguageModel,
    site: Site,
    family: UnitSet,
    values: Sequence[float],
    text: TokenizedCorpus,
    budget: int,
) -> Arrays:
    fns, positions = family.compiled(values), family.positions
    found = replayed(lm, site, text, fns, positions=positions, side_effects=True, budget=budget).side_effects
    assert found is not None
    return {"kl": found.kl, "agreed": found.agreed}


def _numbers(name: str, ratio: Ratio, weights: Float[np.ndarray, "draws _"]) -> dict[str, Any]:
    """A ratio with its 95 % interval, under the names of the columns."""
    low, high = ratio.interval(weights)
    return {name: ratio.value, f"{name}_low": low, f"{name}_high": high}


def language_shares(answers: Sequence[str]) -> LanguageShares:
    """The share of each answer, in alphabetical order; texts without an answer are `unanswered`."""
    named = [answer if answer != identify.UNANSWERED else NO_ANSWER for answer in answers]
    return {answer: named.count(answer) / len(named) for answer in sorted(set(named))}


def _with_front(arms: list[SteeredArm]) -> list[SteeredArm]:
    """Mark the Pareto front: arms that no other beats by more success at no more KL, or as much at less."""

    def beaten(arm: SteeredArm) -> bool:
        return any(
            (other.success > arm.success and other.kl <= (1 + NEAR) * arm.kl)
            or (other.success == arm.success and other.kl < (1 - NEAR) * arm.kl)
            for other in arms
        )

    return [arm.model_copy(update={"on_front": not beaten(arm)}) for arm in arms]
