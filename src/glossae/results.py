"""The contract of `results.json`, as typed classes.

A stage returns the keys that it fills as `StageResults`; the engine joins them into `Results`, which is what
`results.json` holds and what `open_run(...).results` gives back. Rates, shares and AUROCs lie between 0 and 1, losses
are in nats a token where the name does not say otherwise, languages are codes. What a run did not measure is None.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.files import file_sha256, read_bytes, read_json

Kind = TypeVar("Kind", bound="StageResults")

SCHEMA_VERSION = 3
"""Of `results.json`: another number means other keys, or other meanings."""


class Result(BaseModel):
    """A part of `results.json`: it does not change, and has no other keys than those of its class."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def to_json(self) -> dict[str, Any]:
        """What JSON holds of it."""
        return self.model_dump(by_alias=True)


AResult = TypeVar("AResult", bound=Result)
Item = TypeVar("Item")


def divided(
    of: type[AResult], what: str, items: Sequence[Item], work: Callable[[Item], list[AResult]]
) -> list[AResult]:
    """The results of independent work on each item, one after the other; in joint work ranks divide the items.

    Args:
        of: the class of the results.
        what: the work, in a few words.
        items: the same at every rank.
        work: is done by one rank alone (`glossae.ranks.each`).
    """
    if ranks.count() == 1:
        return [result for item in items for result in work(item)]
    rows = ranks.each(what, items, lambda item: [result.to_json() for result in work(item)])
    return [of.model_validate(row) for own in rows for row in own]


# ---- corpora, probe, grid, sae


class RoleCount(Result):
    """What became of the sentences of one source and language in one role.

    `read` is the sum of `sentences`, of `dropped` and of `moved`. Cleaning is counted in the role that read the
    source, not in those that were cut out of it.
    """

    role: str
    """`train`, `select`, `tune`, `test`, and where given `panel` and `replicate`."""
    name: str
    """The source's short name."""
    language: str
    read: int
    """Sentences that came, from the source or, where the role was cut out of another, from that."""
    sentences: int
    """Sentences that the role has."""
    dropped: dict[str, int]
    """Sentences that were left out, by reason."""
    changed: dict[str, int]
    """Sentences that were mended, by what was mended."""
    moved: dict[str, int]
    """Sentences that were cut out for another role, by role."""
    documents: int | None
    """Documents that the sentences are of; None where the source tells none of any of them."""
    sha256: str
    """Of the slice's sentences, in order."""


class CorpusRow(RoleCount):
    """The same as tokens of the run's model; sentences of under 2 tokens are dropped."""

    tokens: int
    cut: int
    """Sentences longer than `max_tokens`, of which the beginning is used."""


Lambda = Annotated[float, Field(validation_alias="lambda", serialization_alias="lambda")]
"""A probe's penalty, which JSON has under the key `lambda`."""


class ProbeCell(Result):
    """One probe: a model's layer, a lambda and a seed, tested on held-out sentences."""

    model: str
    layer: int
    penalty: Lambda
    seed: int
    accuracy: float
    """Share of held-out tokens on the right side of 0.5. Noise where `collapsed`."""
    accuracy_se: float
    """Its standard error, sentences being the units of sampling."""
    bce: float
    """Mean held-out binary cross-entropy, nats a token."""
    bce_se: float
    """Its standard error, likewise."""
    norm: float
    """Of the weights (with the bias where the bias is penalised)."""
    collapsed: bool
    """Whether the optimum has no weights, so that the accuracy is noise."""
    critical_lambda: float
    """From here on this fit's optimum is exactly zero."""
    tokens: int
    """Tokens that were fitted."""
    standardised: bool
    """Whether activations had mean 0 and variance 1."""
    subgradient: float
    """How far from optimal: norm of the smallest subgradient."""
    rule: bool
    """Whether this is the extra lambda that the layer choice looks at, not one of the recipe's."""


class ProbeLayer(Result):
    """What the layer choice by the pair has seen of a layer: means over seeds at 0.1 times the critical lambda."""

    model: str
    layer: int
    bce: float
    """Held-out cross-entropy, nats a token."""
    bce_se: float
    """Its standard error over sentences."""
    bce_sd: float | None
    """Its standard deviation between seeds; None with one seed."""
    critical_lambda: float


class OrderAgreement(Result):
    """Whether seeds put a model's layers in the same order."""

    model: str
    scores: Literal["rule", "as_coded"]
    """By the losses of the layer choice, or by the accuracies of the replayed probes."""
    penalty: Annotated[float | None, Field(validation_alias="lambda", serialization_alias="lambda")]
    """Of the replayed probes; None for the layer choice, which has one of its own."""
    spearman: float | None
    """Mean rank correlation of two seeds; None where no two have an order."""
    seeds: int


class AsCodedRow(Result):
    """Probes of a layer and lambda as the paper's code optimises them, beside the optimum: means over seeds."""

    model: str
    layer: int
    penalty: Lambda
    accuracy: float
    accuracy_low: float
    """Of the worst seed."""
    accuracy_high: float
    """Of the best seed."""
    accuracy_se: float
    bce: float
    """Held-out, nats a token; ln 2 is knowing nothing."""
    norm: float
    """Of weights and bias after the last batch."""
    optimum_norm: float
    """Of weights and bias at the optimum."""
    critical_lambda: float
    """From here on the optimum is exactly zero."""
    collapsed: bool
    """Whether the optimum is exactly zero in every seed."""
    constant: float
    """Accuracy of the better constant answer on the same tokens."""
    batches: int
    """Batches that were stepped on."""
    seeds: int


class PairLayer(Result):
    """The layer that target against reference alone points to."""

    layer: int
    rule: str


class Separation(Result):
    """How well one score of a sentence tells the target from the nearest other language."""

    nearest: str
    """The language with the least AUROC."""
    auroc: float
    """Of held-out sentences of the target over the nearest language's (Hanley & McNeil 1982): mean over seeds."""
    se: float
    """Its standard error over sentences, at least 1 / (m + 2) with m held-out sentences of the smaller of the two
    languages (Laplace's rule of succession), so that an AUROC of 1 is not taken for certain."""
    se_seeds: float | None
    """Its standard error over seeds; None with a single one."""
    low: float
    """The 95 % interval over sentences. Near 1 it reaches down to 0.025^(1/m) at least, as far as that of an AUROC of
    exactly 1, and near 0 likewise."""
    high: float
    by_language: dict[str, float]
    """The AUROC against each other language."""


class NearestLayer(Result):
    """How well one layer tells the target from the nearest other language."""

    layer: int
    difference: Separation
    """By the difference of means: the target's mean less the mean of the other languages' means."""
    probe: Separation
    """By an L2 logistic regression of the target against all others, on standardised values."""
    score: float
    """The smaller of the two AUROCs: a layer counts if both methods find the language there."""
    se: float
    """Of the method with the smaller AUROC."""


class LayerTrial(Result):
    """A short autoencoder at a candidate layer."""

    layer: int
    latents: int
    k: int
    fvu: float
    """In the last steps of its training."""
    found: int
    """Latents whose least AUROC against another language is `minimum` or more."""
    best_latent: int
    best_auroc: float
    """The largest least AUROC of a latent."""


class NearestLanguage(Result):
    """The choice of the layer by the target's nearest other language."""

    role: str
    source: str | None
    """The source of the role that is looked at; None where somebody named a panel."""
    sentences: dict[str, int]
    seeds: int
    minimum: float
    """The least AUROC of a latent that counts as found."""
    rows: list[NearestLayer]
    candidates: list[int]
    """Layers within one standard error of the best."""
    trials: list[LayerTrial]
    """None of them where there is one candidate."""
    train_tokens: int
    """Tokens that the short autoencoders are trained on."""
    chosen: int
    rule: str


class ProbeResult(Result):
    """The layer, and the probes that it is chosen by."""

    site: str
    best_layer: int
    """The layer choice."""
    rule: str
    pair: PairLayer | None
    """None where the pair's probes were not fitted."""
    nearest: NearestLanguage | None
    """None without a third language, by the paper, and where the recipe names the layer."""
    only_pair: str | None
    """Why the layer choice compares the pair only, where it could have compared more."""
    layers: list[ProbeLayer]
    agreement: list[OrderAgreement]
    cells: list[ProbeCell]
    as_coded: list[AsCodedRow] | None
    layer_used: int | None = None
    """The layer of the run; None before the run has said it."""
    chosen_by: Literal["probe", "recipe"] | None = None


class SaeKind(Result):
    """A kind of autoencoder."""

    activation: str
    tied: bool
    """Whether encoder and decoder are one matrix."""
    pre_encoder_bias: bool


class PaperCell(SaeKind):
    """One autoencoder of a grid by the last batches of its training, which is what the paper prints."""

    k: int | None
    """Of topk: latents active at a token."""
    l1: float | None
    """Of relu: weight of the penalty."""
    mse: float
    """Mean squared error per token and dimension."""
    l0: float
    """Latents that fire at a token."""
    active_per_batch: float
    """Distinct latents that fire in a batch."""


class GridCell(PaperCell):
    """One autoencoder of a grid."""

    fvu: dict[str, float]
    """By language, held out: fraction of variance unexplained."""
    l0_select: float
    """Latents that fire at a token, held out."""
    dead_fraction: float
    """Share of latents that fire on no token, held out."""

    def fvu_of(self, languages: Sequence[str]) -> float:
        """The mean FVU of some languages; infinite if none of them has any variance to explain."""
        measured = [self.fvu[language] for language in languages if language in self.fvu]
        return fmean(measured) if measured else math.inf


class GridFront(Result):
    """The cells that no other dominates."""

    measures: tuple[str, str]
    """`l0_select` and `fvu`, less of each being better, or `active_per_batch` and `mse`, more active latents and less
    error being better."""
    among: str
    """`all`, or the activation of the compared cells."""
    cells: tuple[int, ...]
    """Their numbers."""


class GridChoice(Result):
    """The chosen cell."""

    cell: int | None
    """Its number; None if none fires seldom enough."""
    rule: str
    reason: str
    """How the grid choice came to this cell."""


class GridResult(Result):
    """Small autoencoders of many kinds, trained in one pass."""

    model: str
    site: str
    layer: int
    d_in: int
    """Width of the site."""
    latents: int
    """Of each."""
    train_tokens: int
    steps: int
    tokens: int
    """Tokens of `select` that are measured."""
    cells: list[GridCell]
    pareto: list[GridFront] = []
    chosen: GridChoice | None = None
    """The grid choice, which depends on `sae.k`; None before the run has said it."""


class SpliceLoss(Result):
    """Next-token loss of a language, nats a token."""

    raw: float
    """Of the model itself."""
    spliced: float
    """With the reconstruction at the site."""
    ablated: float
    """With zeros at the site; where losses are measured on a growing sample, on its first part."""
    recovered: float | None
    """(ablated - spliced) / (ablated - raw) on the same part; None where ablation changes nothing."""
    sentences: int
    tokens: int
    """Predicted tokens; where a precision was asked for, losses are of some of each sentence's."""
    half_width: float | None
    """Half the width of the 95 % interval of spliced - raw over sentences; None for fewer than 2."""


class Fidelity(Result):
    """How faithful an autoencoder is to a text."""

    fvu: dict[str, float]
    """By language, the fraction of variance unexplained: sums of squares over its tokens, around the mean of the whole
    text."""
    fvu_within: dict[str, float]
    """The same around the language's own mean, so that telling languages apart explains nothing."""
    fvu_normalised: dict[str, float]
    """By language, the mean over tokens of |x - x_hat|^2 / |x - mean|^2, in which large tokens count no more than small
    ones; the mean is that of a sample of the whole text (8,192 tokens)."""
    l0: float
    """Latents that fire at a token."""
    dead_fraction: float
    """Share of latents that fire on no token."""
    top_direction: float
    """Share of the variance along its first principal direction."""
    top_tokens: float
    """Share of the variance in the largest 1 % of tokens, by |x - mean|^2."""
    tokens: int
    """Measured tokens."""
    ce: dict[str, SpliceLoss] = {}
    """By language; empty where losses were not measured."""


class SinkLosses(Result):
    """What it costs a language that the paper splices attention sinks too, nats a token."""

    raw: float
    spliced: float
    """With the reconstruction in the place of every token."""
    left_alone: float
    """With the reconstruction in the place of every token but the sinks."""
    half_width: float | None
    """Half the width of the 95 % interval of spliced - left_alone; None for fewer than 2 sentences."""
    sentences: int
    tokens: int


class SaeResult(Fidelity):
    """The autoencoder, and its fidelity on `select`."""

    site: str
    layer: int
    d_in: int
    """Width of the site."""
    latents: int
    activation: str
    k: int | None
    """Latents active at a token; None where the activation has none, and where it is not known."""
    train_tokens: int | None
    """None where the autoencoder was not trained here."""
    from_: Annotated[str | None, Field(validation_alias="from", serialization_alias="from")]
    """Where the autoencoder was taken from."""
    from_commit: str | None
    """Of the hub, if it came from there."""
    unsound: list[str]
    """What is wrong with it."""
    sinks: dict[str, SinkLosses]
    """By language, where the paper's protocol splices attention sinks."""
    streamed: dict[str, int] = {}
    """By file of the stream, the tokens that each epoch took, also of files from which none came; empty without one."""


def by_file(streamed: Mapping[str, int], most: int = 4) -> str:
    """From which files of a stream so many tokens came, the largest `most` by name: `da.txt 3,100 (78 %), ...`.

    Empty where there is one file.
    """
    if len(streamed) < 2:
        return ""
    total = sum(streamed.values())
    largest = sorted((each for each in streamed.items() if each[1]), key=lambda each: -each[1])
    words = [f"{name} {count:,} ({100 * count / total:.0f} %)" for name, count in largest[:most]]
    if rest := largest[most:]:
        words.append(f"{len(rest)} more {sum(count for _, count in rest):,}")
    if none := [name for name, count in streamed.items() if not count]:
        words.append(f"nothing of {none[0]}{f' and {len(none) - 1} more' if none[1:] else ''}")
    return ", ".join(words)


# ---- evidence, stability, features


class NotTested(Result):
    """What could not be done, and why."""

    reason: str


Estimate = tuple[float, float | None, float | None]
"""A number and the ends of its 95 % interval; None of a language over itself, and of a lone sentence."""


class DoubtfulPair(Result):
    """Two languages, and the sentences of both whose words are all in the word lists of both."""

    languages: tuple[str, str]
    sentences: dict[str, int]
    doubtful: dict[str, int]


class PanelRow(Result):
    """A text that units are tested on."""

    role: str
    source: str | None
    """The one source that it is of; None where somebody named a panel."""
    sentences: dict[str, tuple[int, int]]
    """By language, of the half on which units are found and of the half held out."""
    identical: int
    """Texts that stood in two languages and were taken out of both."""
    ambiguous: dict[str, int]
    """By language, sentences whose words all belong to another language of the panel too."""
    too_few: dict[str, int]
    """By language, sentences that were left out, since so few cannot carry a test."""
    doubtful: list[DoubtfulPair]


class ClaimRow(Result):
    """How many units of a kind pass a claim."""

    kind: str
    claim: str
    inside: tuple[str, ...]
    outside: tuple[str, ...]
    """The languages that a unit has to tell those inside from, each by itself."""
    same: tuple[str, ...]
    """Other claims that are the same with these languages."""
    units: int
    of: int
    family_wise: int | None
    """Units that pass with not even one false discovery expected; None where no draws were asked for."""


class UnitAgain(Result):
    """One unit of a frozen set on other text."""

    passed: bool
    auroc: dict[str, float]
    interval: dict[str, tuple[float, float]]


class UnitEvidence(Result):
    """What is known of one unit."""

    unit: int
    """Its number."""
    name: str | None
    """The most specific claim that it passes, if any."""
    p: dict[str, float]
    """By claim."""
    q: dict[str, float]
    """By claim."""
    auroc: dict[str, float]
    """Of the target over each other language."""
    interval: dict[str, tuple[float, float]]
    """Of each of these, 95 %."""
    fires_on: tuple[str, ...]
    """The other languages that it tells from the reference as well as asked of the target."""


class FamilyUnit(UnitEvidence):
    """A unit of a family that was tested."""

    kind: str
    label: str
    selected: bool
    """Whether it is in the frozen set; if not, it is the one that came closest, or a direction."""
    again: dict[str, UnitAgain]
    """By text: `held_out`, `replicate`."""


class ReplicationRow(Result):
    """How much of a frozen set passes again, in passages of at least so many tokens."""

    kind: str
    on: str
    """`held_out` or `replicate`."""
    tokens: int
    reason: str | None = None
    """Why it could not be tested again."""
    units: int
    passed: int | None = None
    share: float | None = None
    low: float | None = None
    """The 95 % interval of the share (Clopper and Pearson 1934)."""
    high: float | None = None


class CalibrationRow(Result):
    """How often labels dealt out anew give a p-value of "no difference" under a level."""

    kind: str
    target: str
    reference: str
    alpha: float
    share: float


class LanguageMatrix(Result):
    """AUROC of every language over every other by a frozen set as one score, with 95 % intervals."""

    kind: str
    on: str
    languages: tuple[str, ...]
    units: int
    auroc: list[list[float]]
    low: list[list[float | None]]
    high: list[list[float | None]]


class MatchedEstimates(Result):
    """AUROC on the sentences that were matched from, and on those matched for their tokenisation."""

    all: Estimate
    matched: Estimate


class MatchedUnit(MatchedEstimates):
    """The same of one unit."""

    unit: int
    label: str


class MatchedPassing(Result):
    """How many units pass on all sentences, on the matched ones, and on as many that are not matched."""

    all: int
    matched: int
    as_many: int


class TokenisationMatch(Result):
    """How many sentences of two languages are tokenised alike, and how far apart the languages are."""

    matched: int
    found: tuple[int, int]
    """Sentences of the first and the second language."""
    before: dict[str, float]
    """By covariate, the standardised mean difference of all sentences, first less second: in units of
    sqrt((s1^2 + s2^2) / 2) (Austin 2009)."""
    after: dict[str, float]
    """The same of the matched ones, in the same units; below 0.1 in size is commonly taken as balance."""


class MatchedRow(TokenisationMatch):
    """A frozen set against one language on sentences that are tokenised alike."""

    kind: str
    on: str
    other: str
    reason: str | None
    """Why there are too few sentences for any unit to pass."""
    passed: MatchedPassing | None
    set: MatchedEstimates
    """The set as one score."""
    units: list[MatchedUnit]


class MatchedClaim(Result):
    """How many units of a frozen set pass its claim, on all sentences and on matched ones."""

    kind: str
    on: str
    claim: str
    units: int
    outside: list[str]
    left_out: dict[str, str]
    """Why a language is left out."""
    passed: int | None
    """On all sentences; None where there is no language to test against."""
    passed_matched: int | None
    passed_as_many: int | None


class UnambiguousRow(Result):
    """The target over a language with which it has doubtful sentences, with these and without."""

    kind: str
    on: str
    other: str
    left_out: dict[str, int]
    all: Estimate
    without: Estimate


class SourcesApart(Result):
    """Whether the languages of a text come from different sources."""

    on: str
    reason: str | None
    """How they do; None where they do not."""


class SourceRow(Result):
    """AUROCs of a frozen set inside one source, or of one source over another in the target."""

    kind: str
    source: str
    versus: str | None
    """The other language; None for two sources of the target."""
    other_source: str | None
    sentences: tuple[int, int]
    units: int
    least: float
    median: float
    most: float
    told: int
    """Units at `minimum` or more; of two sources, in either direction."""


class WithinSource(Result):
    """The check for sources as confounders, on text that no unit was selected on."""

    apart: list[SourcesApart]
    rows: list[SourceRow]


class RandomTokenUnit(Result):
    """A frozen latent under LangFIR's filter."""

    unit: int
    rate: float
    """Share of the target's tokens on which it fires."""
    random_rate: float
    """Share of random tokens on which it fires."""
    on_random: bool
    kept: bool


class RandomTokens(Result):
    """LangFIR's filter (arXiv 2604.03532): latents that fire on random tokens are thrown out."""

    tokens: int
    min_rate: float
    max_random: float
    units: list[RandomTokenUnit]


class ScoresResult(Result):
    """How far the field's scores rank latents alike, among those that fire more on the target."""

    compared: int
    """Latents that are ranked."""
    names: list[str]
    spearman: list[list[float | None]]
    """None where a score is the same for all latents."""
    shared: list[list[float]]
    """The share of the `top` best that two scores have in common."""
    top: int
    attributed: dict[str, int]
    """By language, the predictions behind attribution."""
    random_tokens: RandomTokens


class Identified(Result):
    """How well the languages of some texts were identified."""

    languages: tuple[str, ...]
    """The classes: those of the text, sorted, then those that were only predicted."""
    confusion: list[list[int]]
    """How many rows in one language (first axis) were taken for another (second axis)."""
    rows: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    """Its central 95 %, over resamples of the clusters."""
    macro_f1: float
    """The mean F1 of the languages of the text, each weighing the same."""
    macro_f1_interval: tuple[float, float]
    f1: dict[str, float]
    """Of each language of the text; 0 where none of its rows was recognised."""
    units: dict[str, tuple[int, ...]] = {}
    """The units that each language was given, best first; none where no units are behind it."""
    converged: bool = True
    """Whether what was fitted reached its optimum; true where nothing was fitted."""
    strength: float | None = None
    """The inverse penalty C of the regression, chosen by cross-validation; None without one."""


class NotIdentified(Result):
    """Languages that a text has too little of to tell them apart."""

    set: tuple[str, ...]
    """The languages."""
    fitted_on: str
    """`panel` or `replicate`."""
    on: str
    """What is tested on: `held_out` or `replicate`."""
    reason: str


class IdentificationRow(Identified):
    """One set of languages, told apart in one way on one text."""

    set: tuple[str, ...]
    fitted_on: str
    on: str
    reason: None = None
    level: Literal["sentence", "token"]
    by: str
    """`latent`, `neuron`, `activation`, `ngram` or `ngram so far`."""
    how: str
    """`regression`, `largest` or `likelihood`."""
    per_language: int | None
    """Units of each language; None where no units are behind it."""


class EvidenceResult(Result):
    """The tests of which units stand for the language, and what else may be behind it."""

    reason: None = None
    minimum: float
    """The null is a sentence AUROC of at most this."""
    q: float
    """The rate of false discoveries, over all units of a kind."""
    method: str
    tokens: int
    """Tokens of the passages that sentences are joined into; 1 for sentences themselves."""
    panels: list[PanelRow]
    claims: list[ClaimRow]
    units: list[FamilyUnit]
    replication: list[ReplicationRow]
    calibration: list[CalibrationRow]
    matrix: list[LanguageMatrix]
    matched: list[MatchedRow]
    matched_claims: list[MatchedClaim]
    unambiguous: list[UnambiguousRow]
    within_source: WithinSource
    scores: ScoresResult | None
    identification: list[IdentificationRow | NotIdentified]


class MatchShares(Result):
    """The share of some latents that have a match in another seed's autoencoder; None where there are none."""

    of: int
    """How many were looked at."""
    cosine: float | None
    """With a latent there whose decoder row is at a cosine of at least `same`."""
    correlation: float | None
    """With one that correlates with them as much."""
    both: float | None
    """With one of which both is true."""


class SelectedShares(MatchShares):
    """The same of the frozen latents."""

    one_to_one: float | None
    """Where no two have one partner, both."""
    partner_found: float | None
    """Whose partner passes the test there."""
    correlate_found: float | None
    """Of which the one that correlates most does."""
    again_and_found: float | None


class SeedRow(Result):
    """An autoencoder of another seed."""

    seed: int
    found: int
    """Latents that pass the test there."""
    of: int
    firing: MatchShares
    """Of all latents that fire; correlations are with the nearest few, so that is a lower bound."""
    selected: SelectedShares


class Partner(Result):
    """A frozen latent in another seed's autoencoder."""

    seed: int
    again: bool
    """Whether its partner is near enough by cosine and by correlation."""
    partner: int
    """Its latent in the one-to-one matching of the largest total cosine; -1 without one."""
    partner_cosine: float
    partner_correlation: float
    partner_found: bool
    """Whether that one passes the test there."""
    correlate: int
    """The latent that correlates with it most."""
    correlate_cosine: float
    correlate_correlation: float
    correlate_found: bool


class StableUnit(Result):
    """A frozen latent, and its partners."""

    unit: int
    label: str
    seeds: list[Partner]


class StabilityResult(Result):
    """Whether the frozen latents come again in autoencoders of other seeds."""

    reason: None = None
    same: float
    """From this cosine, or correlation, on two latents count as the same."""
    claim: str
    role: str
    tokens: int
    """Tokens over which latents are correlated."""
    found: int
    of: int
    seeds: list[SeedRow]
    units: list[StableUnit]


class UnitRow(Result):
    """A selected latent, or one nearest to the rate rule."""

    unit: int
    """Its number."""
    kind: str
    rate: dict[str, float]
    """By language, the share of tokens on which it fires."""
    mean: dict[str, float]
    """By language, its mean pre-activation over all tokens."""
    mean_active: dict[str, float]
    """By language, its mean value where it fires; 0 where it never does."""
    max_active: dict[str, float]
    token_auroc: float
    """How often a token of the target has a larger pre-activation than one of the reference."""
    sentence_auroc: float | None
    """The least AUROC of the target's sentences over another language's, on the tests' text; None without them."""
    q_value: float | None
    """Of the claim that the run takes units by; None where nothing was tested."""


class Thresholds(Result):
    """Of the rate rule: shares of tokens."""

    min_target: float
    max_reference: float
    max_reference_fallback: float


class SelectedOn(Result):
    """How much text of a language units were selected on, and how often the selected units fired there."""

    tokens: int
    rate: dict[str, float]
    """By unit."""


SELECTED_BY = {
    "paper": "the rate rule",
    "tested": "the tests",
    "fallback": "the fallback, because no latent passes",
    "given": "the recipe, which gives their numbers",
}
"""What selected latents, in words, by `FeaturesResult.rule`."""


class FeaturesResult(Result):
    """The units that the run selects, on `select`."""

    rule: str
    """What chose them: `paper` (the rate rule), `tested`, `fallback`, `given`, or `none` where no unit passes."""
    units: list[UnitRow]
    """Those selected, the best first."""
    nearest: list[UnitRow]
    """Those with the largest difference of rates, whether selected or not."""
    thresholds: Thresholds
    selected_on: dict[str, SelectedOn] | None
    """By language, where units were selected on less than all of `select`."""
    tokens: dict[str, int]
    sentences: dict[str, int]


# ---- dashboards: what each shown unit does over the run's whole text, in a file of its own


class UnitContext(Result):
    """A window of a sentence around the token where a unit's value is largest."""

    language: str
    source: str
    tokens: list[str]
    """As text; a character that several tokens make up stands whole at the first of them, and the others are empty."""
    ids: list[int]
    """Their token ids."""
    values: list[float]
    """The unit's value at each; 0 where a latent does not fire, and at attention sinks, which are not read."""
    peak: int
    """The place among them of the largest value."""
    cut: tuple[bool, bool]
    """Whether the sentence goes on before and after the window."""


class UnitInterval(Result):
    """One of five equal intervals between 0 and the unit's largest value, with sentences drawn at random."""

    low: float
    high: float
    """Belongs to the interval; `low` does not."""
    sentences: int
    """Sentences whose largest value lies in the interval."""
    contexts: list[UnitContext]


class LanguageDensity(Result):
    """How often a unit fires on a language, and how strongly."""

    tokens: int
    """Tokens of the language that were read."""
    sentences: int
    rate: float
    """The share of the tokens on which the unit fires."""
    mean: float
    """Its mean value over all the tokens."""
    mean_active: float | None
    """Its mean value where it fires; None where it never does."""
    largest: float


class ValueHistogram(Result):
    """Tokens by the unit's value: of a latent where it fires, of other units everywhere."""

    edges: list[float]
    counts: dict[str, list[int]]
    """By language, the tokens between each two edges."""


class TokenEffect(Result):
    """A token of the vocabulary, and what a unit adds to its logit."""

    id: int
    token: str
    value: float


class LogitEffects(Result):
    """What a unit's direction adds to the logits (see `glossae.lm.logit_effects`), per unit of its value."""

    raised: list[TokenEffect]
    """The tokens raised most, the first most of all."""
    lowered: list[TokenEffect]
    edges: list[float]
    counts: list[int]
    """Tokens of the vocabulary between each two edges."""
    of: int
    """How many of the most raised tokens `languages` is about."""
    languages: dict[str, float]
    """The share of them that are a language's own: at least twice as frequent in its text as in any other's."""


class NearUnit(Result):
    """Another unit of the same kind."""

    unit: int
    label: str
    cosine: float
    """Of the two units' directions."""


class TestedClaim(Result):
    """A claim about a unit."""

    p: float
    q: float
    passed: bool


class UnitTests(Result):
    """What the stage `evidence` found of a unit."""

    claims: dict[str, TestedClaim]
    auroc: dict[str, float]
    """Of the target's sentences over each other language's."""
    least: float
    """The least of these."""
    left_out: dict[str, float]
    """The least of them without one language; empty with fewer than three."""


class UnitDashboard(Result):
    """One unit over the run's whole text: `dashboards/KIND-NUMBER.json`, of the stage `dashboards`."""

    kind: Literal["latent", "neuron", "direction"]
    unit: int
    """Its number."""
    label: str
    site: str
    layer: int
    target: str
    reference: str
    selected: bool
    """Whether the run selected it (latents) or it passes the tests (neurons, directions); if not, it came close."""
    threshold: float
    """The unit fires above it: 0 for latents; for neurons and directions the least edge of their histogram (of 4,096
    bins) above which lies at most 1 % of all tokens."""
    density: dict[str, LanguageDensity]
    """By language."""
    contexts: dict[str, list[UnitContext]]
    """By language, sentences with the largest values, the largest first; near-duplicates are left out."""
    intervals: list[UnitInterval]
    """Empty if the unit has no value above 0."""
    silent: list[UnitContext]
    """Sentences on no token of which it fires, drawn at random; the labels of `glossae explain` are scored on them."""
    histogram: ValueHistogram
    logits: LogitEffects | None
    no_logits: str | None
    """Why there are no logit effects."""
    nearest: list[NearUnit]
    """Of the largest cosine; none for neurons, which are all at right angles."""
    tests: UnitTests | None
    """None where nothing was tested."""
    partners: list[Partner]
    """In autoencoders of other seeds, where those were trained and the unit was looked for."""


class UnitLabel(Result):
    """A language model's label of a unit, `labels/KIND-NUMBER.json`: a help for readers, and no evidence."""

    kind: str
    unit: int
    label: str
    model: str
    """The language model that proposed it and judged by it, as its endpoint calls it."""
    prompts: str
    """A hash of everything that the model was asked."""
    dashboard: str
    """SHA-256 of the unit's dashboard; a label of another dashboard is shown no more."""
    firing: int
    """Sentences on which the unit fires that the judge saw and the labeller did not."""
    silent: int
    """The same on which it does not fire."""
    balanced_accuracy: float
    """The mean of the shares of both that the judge told right by the label alone; 0.5 is chance."""
    low: float
    """The 95 % interval of that, over sentences."""
    high: float


class ShownUnit(Result):
    """A unit that has a dashboard."""

    kind: str
    unit: int
    tokens: int
    """Tokens that were read, of all languages."""
    label: str = ""
    passes: list[str] = []
    """The claims that it passes, the most specific first."""


# ---- baselines, effects, controls


class ToldAgain(Result):
    """The first units of one kind on text that they were not found on."""

    best: float
    """The first one's least AUROC over the languages that the test is against."""
    above: int
    """How many of the first units reach the minimum."""
    of: int
    auroc: dict[str, float]
    """The first one's AUROC of the target over each language."""


class FoundUnits(Result):
    """The units of an autoencoder, or a site's coordinates, that one test finds."""

    group: str
    """`trained`, `frozen decoder`, `untrained` or `coordinates`."""
    seed: int
    units: int
    passing: int
    """How many pass the run's test on the half of the panel that is searched."""
    paper: int | None
    """How many latents pass the rate rule there; None for coordinates."""
    fvu: dict[str, float] | None
    """By language; None for coordinates."""
    best: str
    """The unit that is furthest from its nearest other language."""
    weakest: float
    """Its AUROC over that language."""
    again: dict[str, ToldAgain]
    """On `held_out`, and on `replicate` where there is such text."""
    stable: float | None
    """The share of the first latents that the group's other seeds have; None where there is no other."""


class LossChange(Result):
    """What a set of units does to one language's loss, with the 95 % interval over sentences."""

    delta: float
    low: float
    high: float
    per_byte: float
    """Nats a UTF-8 byte of predicted tokens."""
    sentences: int


class TurnedSet(Result):
    """A set of units that is switched off, or turned down to a given damage."""

    group: str
    """What the units are of, such as `trained` or `untrained`; sets of one group and size differ by their seed."""
    seed: int
    size: int
    members: tuple[int, ...]
    """The units' numbers, best first; none of directions and of neurons of several layers."""
    dose: float
    """1 switches off."""
    at: float | None
    """The rise of the target's loss that the dose was looked for; None where units are switched off."""


class SwitchedSet(TurnedSet):
    """What a set of units does to every language's loss."""

    change: dict[str, LossChange]
    nearest: str | None
    """The language besides the target that loses most."""

    def is_off(self, target: str) -> bool:
        """Whether the units are switched off, and what that costs the target and the nearest language is known."""
        off = self.at is None and self.dose == 1.0
        return off and self.nearest in self.change and target in self.change


class MeasuredText(Result):
    """The sentences of one language that sets were measured on; `loss` is the model's own."""

    sentences: int
    tokens: int
    bytes: int
    loss: float


Comparison = Literal["target", "margin"]
"""The rise of the target's loss; or that less the largest rise of another language's."""


class TrainingAdds(Result):
    """What switching off a trained autoencoder's latents costs more than an untrained one's, means over seeds.

    The interval is over sentences and, resampled with them, over seeds.
    """

    what: Comparison
    size: int
    """How many latents."""
    trained: float
    untrained: float
    difference: float
    low: float
    high: float
    seeds: list[int]
    """How many of each."""


class TrainingCarries(Result):
    """Of each seed the smallest of the sizes that does 90 % of what the largest set does to the target."""

    what: Literal["units"] = "units"
    size: None = None
    trained: list[int]
    untrained: list[int]


class Baselines(Result):
    """What training adds: units of trained and untrained autoencoders by the same test, switched off."""

    reason: str | None
    """Why nothing could be compared; then nothing else is there."""
    minimum: float | None = None
    """The AUROC that the test is of."""
    q: float | None = None
    """The false discovery rate."""
    claim: str | None = None
    """What is tested."""
    outside: list[str] = []
    """The languages that the target is told from."""
    autoencoders: list[FoundUnits] = []
    sets: list[SwitchedSet] = []
    measured: dict[str, MeasuredText] = {}
    adds: list[TrainingAdds | TrainingCarries] = []

    @property
    def differences(self) -> list[TrainingAdds]:
        """What training adds, by size and by what is compared."""
        return [row for row in self.adds if isinstance(row, TrainingAdds)]

    @property
    def carries(self) -> TrainingCarries:
        """How many latents carry the damage."""
        return next(row for row in self.adds if isinstance(row, TrainingCarries))


class LossCell(Result):
    """Mean loss on one language of one source under one edit."""

    units: str
    """The set's name."""
    kind: str
    """latent, neuron or direction."""
    edit: str
    """`raw`, or the operation."""
    splice: bool | None
    """Whether the reconstruction stood in the activation's place; None for raw."""
    value: float | None
    """The dose: of `set` the value; of `scale` the share left of the difference from the reference; of `add` how often
    the distance between the languages."""
    language: str
    source: str
    """`all` and `panel` are all of that text together."""
    ce: float
    ce_per_byte: float
    """Nats a UTF-8 byte of predicted tokens."""
    delta: float
    """`ce` less that of `none` with the same splice, and its 95 % interval, paired by cluster."""
    ci_low: float
    ci_high: float
    delta_per_byte: float
    """The same of `ce_per_byte`, which languages compare by more nearly."""
    byte_ci_low: float
    byte_ci_high: float
    tokens: int
    sentences: int
    in_range: bool | None
    """Whether the units take this value by themselves on target text."""


class Selectivity(Result):
    """Target against one other language where the target's loss has risen by `at` nats a token.

    A token has more bytes in one language than in another, so languages compare by nats per UTF-8 byte of predicted
    tokens: at the same dose the target's rise is `at` times its tokens per byte. The numbers per token are beside
    them. All are None where no dose of the sweep raises the target's loss that far (`reached`).
    """

    units: str
    kind: str
    edit: str
    splice: bool
    text: str
    """`test`, or `panel`: the half of the panel that units were not found on."""
    at: float
    versus: str
    """Another language; or, of several, the mean of their rises, or the largest (`nearest`), found in every resample
    anew, so that its interval is that of the largest."""
    reached: bool
    value: float | None = None
    """The interpolated dose; None if it lies between no edit and the dose 0."""
    target_delta_per_byte: float | None = None
    other_delta_per_byte: float | None = None
    margin_per_byte: float | None = None
    """The target's rise less the other's, with its 95 % interval."""
    margin_per_byte_low: float | None = None
    margin_per_byte_high: float | None = None
    ratio_per_byte: float | None = None
    """The target's rise over the other's, with its 95 % interval; a number is None where it is infinite, since the
    other's loss does not rise."""
    ratio_per_byte_low: float | None = None
    ratio_per_byte_high: float | None = None
    ratio_per_byte_least: float | None = None
    """The one-sided lower 95 % confidence limit of the ratio: 1 over the 95 % quantile, over resamples, of the other's
    rise as a share of the target's; None where that quantile is not above 0."""
    target_delta: float | None = None
    other_delta: float | None = None
    margin: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    ratio_least: float | None = None


class SideEffect(Result):
    """How far a language's predictions and activations move where the target's loss has risen by `at` nats a token.

    The numbers are None where no dose gets there; each has its 95 % interval over clusters.
    """

    units: str
    kind: str
    edit: str
    splice: bool
    at: float
    language: str
    reached: bool
    kl: float | None = None
    """KL(p || p under the edit), nats a predicted token."""
    kl_low: float | None = None
    kl_high: float | None = None
    agreement: float | None = None
    """The share of predicted tokens whose most probable prediction stays."""
    agreement_low: float | None = None
    agreement_high: float | None = None
    change: float | None = None
    """The length of the change at the site, relative to the activation's, summed over tokens."""
    change_low: float | None = None
    change_high: float | None = None


class PartEffect(Result):
    """What one unit of a set alone, or all but that one, does to a language; with the 95 % interval of the change."""

    units: str
    unit: int
    way: Literal["alone", "left out"]
    edit: str
    value: float | None
    language: str
    delta: float
    ci_low: float
    ci_high: float


class BestDose(Result):
    """The edit of a sweep with the lowest loss on `tune`, and what it does on `test`."""

    units: str
    kind: str
    edit: str
    value: float | None
    splice: bool
    """Whether the edits are of the reconstruction, and changes from the one without an edit."""
    tune_delta: float
    """The change of the loss on `tune`; the lowest of many, so biased down."""
    delta: float
    """The change on `test`, with its 95 % interval."""
    ci_low: float
    ci_high: float
    helps: bool
    """Whether the interval is below 0."""


class SweptSet(Result):
    """A set of units whose effects were measured."""

    units: str
    kind: str
    size: int
    members: list[int]
    """The numbers of latents and neurons."""


class SerialCorrelation(Result):
    """How far consecutive sentences of one source and language depend on each other, in one statistic.

    The statistic of a sentence is what it adds to the error of the ratio that is reported: its nats less the ratio
    times its predicted tokens.
    """

    text: str
    """`test`, or `panel`."""
    source: str
    language: str
    statistic: str
    """`loss`, of the model as it is; or `change`, of `edit` from no edit."""
    edit: str | None
    """The operation; None for `loss`."""
    sentences: int
    """How many, in the order in which the source has them."""
    lag_1: float
    """Their autocorrelation at lag 1."""
    p: float
    """The share of permutations of the sentences with as large a one, `(b + 1) / (draws + 1)`."""
    q: float
    """p over all rows, as a false discovery rate (Benjamini and Hochberg 1995)."""
    inflation: float
    """The variance of a mean of such sentences over that of as many independent ones; intervals that take sentences
    for independent are too narrow by its square root."""


class ChosenLatents(Result):
    """What the run selects of an autoencoder's latents as a language's."""

    units: str
    """The set's name."""
    language: str
    """Whose latents were looked for."""
    seed: int | None
    """Of an autoencoder's random weights; None for the trained one."""
    asked: str
    """What the recipe asks for (`features.rule`)."""
    rule: str
    """How the set came about: `Selection.rule`, such as `fallback` where no latent passes."""
    passing: int | None
    """How many latents pass what is asked for; None where nothing could be tested."""
    of: int
    text: str
    """The hash of the text that they were selected on."""
    members: tuple[int, ...]
    """The set, best first, at most as many as were selected for the target."""
    means: tuple[float, ...]
    """What each reads on the reference's text on average."""


class CodedCell(Result):
    """One language under one value, as the paper's code averages losses (its Figure 8 and Appendix C)."""

    value: float | None
    """What the units are fixed at; None: the spliced code without an edit, the paper's "no modification"."""
    language: str
    ce: float
    """The mean over sentences of the mean over each one's predicted tokens: a token of a short sentence counts for more
    than one of a long sentence."""
    delta: float
    """`ce` less that of no modification."""
    sentences: int


class NextToken(Result):
    """What sets of units do to the next token's loss."""

    cells: list[LossCell] = []
    selectivity: list[Selectivity] = []
    side_effects: list[SideEffect] = []
    one_by_one: list[PartEffect] = []
    best_dose: list[BestDose] = []
    sets: list[SweptSet] = []
    serial_correlation: list[SerialCorrelation] = []
    chosen: list[ChosenLatents] = []
    as_coded: list[CodedCell] | None = None
    """By the paper's code, where the recipe asks for it."""


class Control(Result):
    """A set's effect beside that of a control."""

    units: str
    edit: str
    value: float | None
    """The set that is looked at, and what is done to it."""
    control: str
    """What it is held against: a null that is drawn, or one other set with an edit of its own."""
    control_edit: str
    statistic: str
    """`target`: the rise of the target's loss, nats a byte; `target - reference`: less that of the reference's;
    `target - nearest`: less the largest of all other languages', where there are others besides the reference."""
    draws: int
    """How often the control was drawn; 1 for a set that is no draw."""
    observed: float
    """The statistic of the set."""
    null_mean: float
    null_p95: float | None
    """Of the draws; of one set its statistic, and nothing."""
    rank: int | None
    """1 + the number of draws that are as large as what was observed, of draws + 1; None for one set. The selected
    set was not drawn as the others were, so rank / (draws + 1) is no p-value of a random draw."""


class Likeness(Result):
    """The mean of a property over the selected latents, and over those that were drawn."""

    selected: float
    drawn: float


class Controls(Result):
    """What drawn latents and random directions do, on frozen sentences of `test`."""

    rows: list[Control]
    sentences: dict[str, int]
    tokens: int
    sha256: str
    """Of the sentences."""
    draws: int
    edits: int
    """That were measured, all together."""
    matched: dict[str, Likeness] | None
    """By what latents are matched on; None without selected latents."""


# ---- tasks, steering


class TaskScore(Result):
    """A score on a task with an edit in place."""

    task: str
    language: str
    """Of its texts."""
    units: str
    kind: str
    edit: str
    """`raw`, `none` or the operation."""
    splice: bool | None
    """None for raw."""
    value: float | None
    protocol: Literal["controlled", "as_coded", "fine_tuned"]
    metric: Literal["macro_f1", "mcc", "weighted_f1"]
    score: float
    """With its 95 % interval, `ci_low` to `ci_high`."""
    ci_low: float
    ci_high: float
    delta: float
    """Less the score without an edit (for a splice: the splice without one), with its interval and p-value."""
    delta_low: float
    delta_high: float
    p: float | None
    """None for a score without an edit."""
    detectable: float | None
    """The true difference that would be found in 80 % of tests like this one, at 5 % on two sides; None where no
    prediction differs, which leaves no spread to tell from."""
    n_train: int
    """Rows to learn from."""
    n_test: int
    """Rows to test on; of each split, where there are several."""
    splits: int
    """1 where the test rows are given or drawn once."""
    seeds: int
    """Trainings behind the score."""
    converged: bool | None
    """Whether the solver did; None for fine-tuning, which has none."""
    penalty: float | None
    """The C of the regression; None for fine-tuning."""


class Continuation(Result):
    """What came after a prompt; `edit` is raw or the operation, `value` the dose."""

    prompt: str
    language: str
    units: str
    edit: str
    value: float | None
    text: str


class SteeredArm(Result):
    """Every prompt continued under one edit, and what the edit does to reference text."""

    family: str
    """Whose edit it is; `raw` is the model as it is."""
    kind: str | None
    """Of its units."""
    operation: str | None
    """What is done with them."""
    units: int
    """How many."""
    value: float | None
    """The dose; None for raw."""
    at: float | None
    """The KL that this dose was looked for; None for a dose that was given."""
    kl: float
    """KL(p || p_steered), nats a token, on reference text, with its 95 % interval over sentences."""
    kl_low: float
    kl_high: float
    agreement: float
    """The share of tokens on reference text at which the most probable one stayed the same."""
    success: float
    """The share of continuations in the target language, by both identifiers where there are two."""
    success_low: float
    success_high: float
    repetition: float | None
    """The share of 4-grams of tokens that stood before in the same continuation."""
    repetition_low: float | None
    repetition_high: float | None
    distinct_1: float | None
    """Different tokens over all there are."""
    distinct_2: float | None
    """The same of pairs of tokens."""
    loss: float | None
    """Of the continuations under the model as it is."""
    loss_low: float | None
    loss_high: float | None
    tokens: float
    """New tokens a continuation."""
    shares: dict[str, dict[str, float] | None]
    """By identifier (`ngrams`, `lingua`, `both`) the share of each language, and of `unanswered`; None without
    lingua."""
    on_front: bool = False
    """Whether no other arm has more success at a KL no larger (2 % do not count)."""


class SteeredFamily(Result):
    """A family of units that prompts were steered by."""

    family: str
    kind: str
    operation: str
    units: list[str]
    """What the units are called."""
    unreached: list[float]
    """The KL that no dose came to."""


class SteeringPrompts(Result):
    """How many prompts are the paper's, how many were cut from `test`, and of how many tokens."""

    paper: int
    test: int
    tokens: int


class SteeringText(Result):
    """The whole sentences of `test` that KL was measured on."""

    sentences: int
    tokens: int


class Lingua(Result):
    """The identifier lingua, and the languages that it chose from."""

    version: str
    languages: list[str]


class Identifiers(Result):
    """Who says what language a continuation is in."""

    ngrams: list[str]
    """The languages that the run's own character n-grams know."""
    lingua: Lingua | None
    """None where it is not installed."""


class SteeringExample(Result):
    """A continuation, raw or at one of the KL that families are compared at; without a language `language` is None."""

    prompt: str
    family: str
    value: float | None
    at: float | None
    text: str
    language: str | None


class SteeringResult(Result):
    """What the steered model writes, by families of units."""

    arms: list[SteeredArm]
    """Raw first, then family by family in the order of doses."""
    families: list[SteeredFamily]
    left_out: list[str]
    """The families that have no units."""
    kl: list[float]
    """Nats a token at which families are compared."""
    prompts: SteeringPrompts
    kl_text: SteeringText
    identifiers: Identifiers
    examples: list[SteeringExample]


# ---- what the paper prints


class PaperMean(Result):
    """The mean accuracy over a model's layers."""

    penalty: Lambda
    mean: float


class PaperBest(Result):
    """The best layer of a model."""

    penalty: Lambda
    layer: int
    accuracy: float


class PaperModel(Result):
    """Accuracies of a model's probes (Figure 3)."""

    model: str
    layers: int
    """How many it has."""
    accuracy: list[PaperMean]
    best: list[PaperBest]


class PaperProbe(Result):
    """A probe of one layer."""

    model: str
    layer: int
    penalty: Lambda
    norm: float
    """Of the weights."""
    bce: float
    """Nats a token."""
    accuracy: float


class PaperProbes(Result):
    """The probes of section 4.1."""

    models: list[PaperModel]
    cells: list[PaperProbe]


class PaperGrid(Result):
    """The grid of section 4.2."""

    model: str
    layer: int
    cells: list[PaperCell]
    chosen: SaeKind


class PaperLosses(Result):
    """Appendix C: cross-entropy, nats a token, with the units at each value."""

    source: str
    values: list[int]
    losses: dict[str, list[float]]
    """By language, at each value."""
    no_modification: dict[str, float]
    """By language, of the spliced model without an edit: the unmodified model was not measured."""


class PaperTasks(Result):
    """Appendix D: scores of tasks with the units at each value."""

    metric: str
    values: list[int]
    scores: dict[str, list[float]]
    """By task, at each value."""
    no_modification: dict[str, float]
    """By task, as for the losses."""


class PublishedFigures(Result):
    """The paper's own numbers (Kirkegaard & Sibbesen 2025)."""

    probes: PaperProbes
    grid: PaperGrid
    selected_units: list[int]
    """What section 5.1 found."""
    next_token: PaperLosses
    tasks: PaperTasks


# ---- the whole


class StageResults(Result):
    """The keys of `results.json` that stages fill; a stage that was not run leaves None.

    A stage of one's own may fill a key of its own, with a `Result` or what JSON has.
    """

    model_config = ConfigDict(extra="allow")

    corpora: list[CorpusRow] | None = None
    """The text: a row for each role, file and language."""
    probe: ProbeResult | None = None
    """The layer, and the probes that it is chosen by."""
    grid: GridResult | None = None
    """Small autoencoders of many kinds, where a grid was asked for."""
    sae: SaeResult | None = None
    """The autoencoder."""
    evidence: EvidenceResult | NotTested | None = None
    """The tests of which units stand for a language."""
    stability: StabilityResult | NotTested | None = None
    """Whether the units come again in autoencoders of other seeds, where those were asked for."""
    features: FeaturesResult | None = None
    """The units that the run selects."""
    dashboards: list[ShownUnit] | None = None
    """The units that were looked at over the whole text; each has a file of its own, a `UnitDashboard`."""
    baselines: Baselines | None = None
    """What training adds: trained and untrained autoencoders by the same test."""
    next_token: NextToken | None = None
    """What the units do to the next token's loss."""
    controls: Controls | None = None
    """The same of matched latents and random directions, where draws were asked for."""
    tasks: list[TaskScore] | None = None
    """What they do to downstream tasks, where those were asked for."""
    generation: list[Continuation] | None = None
    """Continuations under edits."""
    steering: SteeringResult | None = None
    """What the steered model writes, where prompts were asked for."""
    published: PublishedFigures | None = None
    """The paper's own figures, where the recipe is `paper`."""

    def joined(self: "Kind", *others: "StageResults") -> "Kind":
        """With the keys that others fill."""
        filled = {key: getattr(other, key) for other in others for key in other.model_fields_set}
        return self.model_copy(update=filled)

    def summary(self) -> dict[str, Any]:
        """What JSON holds of the keys that were filled."""
        return {key: value for key, value in self.to_json().items() if key in self.model_fields_set}


def read_label(folder: Path, kind: str, unit: int) -> UnitLabel | None:
    """Read a unit's label in a run's folder; None if there is none, or it is of another run's unit of that number.

    Raises:
        GlossaeError: the file does not hold a label.
    """
    name = f"{kind}-{unit}.json"
    path = folder / "labels" / name
    if not path.is_file():
        return None
    try:
        label = UnitLabel.model_validate_json(read_bytes(path))
        own = file_sha256(folder / "dashboards" / name)
    except (OSError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read: delete it") from error
    if (label.kind, label.unit) != (kind, unit):
        raise GlossaeError(f"{path}: holds the label of another unit: delete it")
    return label if label.dashboard == own else None


def read_dashboard(path: Path) -> UnitDashboard:
    """Read `dashboards/KIND-NUMBER.json` of a run.

    Raises:
        GlossaeError: it cannot be read, or does not hold what it should.
    """
    try:
        return UnitDashboard.model_validate_json(read_bytes(path))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it does not hold a unit's dashboard"
        raise GlossaeError(f"{path}: cannot be read ({why}): run the stage 'dashboards' again") from error


class Results(StageResults):
    """The whole of `results.json`; nothing in it depends on the clock or the machine."""

    recipe: str
    """The recipe's name."""
    protocol: str
    """`controlled`, `published` or `as_coded`."""
    model: str
    """The model as the recipe names it."""
    seed: int
    """From which every random draw comes."""
    schema_version: int
    """The version of this contract, `SCHEMA_VERSION`."""

    def to_json(self) -> dict[str, Any]:
        """What JSON holds of it, what names the run first."""
        content = super().to_json()
        return {key: content[key] for key in Results.__annotations__} | content


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong, after the keys that lead to it."""
    first = error.errors()[0]
    return (
        "".join(f"{part}: " for part in (".".join(map(str, first["loc"])),) if part)
        + str(first["msg"]).partition(" or instance of ")[0]
    )


def read_results(kind: type[Kind], path: Path, again: str = "") -> Kind:
    """Read `results.json`, or what one stage left of it.

    Args:
        kind: `Results` or `StageResults`.
        path: the file.
        again: ends the error of a file that cannot be read: what to do about it.

    Raises:
        GlossaeError: it cannot be read, does not hold what it should, or is of another version.
    """
    try:
        content = read_json(path)
        if (
            isinstance(content, dict)
            and (version := content.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION
        ):
            newer = isinstance(version, int) and version > SCHEMA_VERSION
            do = (
                "it was made by a newer glossae: update this one"
                if newer
                else "run the same command with --again, which writes it anew"
            )
            raise GlossaeError(
                f"{path}: schema_version {version} has other keys than this glossae reads, which are those of "
                f"{SCHEMA_VERSION}: {do}"
            )
        return kind.model_validate(content)
    except ValidationError as error:
        raise GlossaeError(f"{path}: cannot be read ({first_fault(error)}){again}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){again}") from error


# ---- run.json


class _Part(BaseModel):
    """What `run.json` must have for its readers; other keys are for people."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Stage(_Part):
    fingerprint: str | None = None
    made_from: dict[str, str] = {}
    files: dict[str, str] = {}


class _Sinks(_Part):
    site: str
    layer: int
    median: float
    smallest: float
    largest: float | None
    tokens: int
    count: int = 0
    text_share: float = 0.0
    norm: float | None = None
    first: int = 0
    examples: list[str] = []


class _Habits(_Part):
    of: str
    bos: bool
    chat: list[int] = []
    loss_with_bos: float | None
    loss_without_bos: float | None
    loss_in_chat: float | None = None
    loss_in_bfloat16: float | None = None
    bfloat16: bool = False
    sentences: int
    sinks: list[_Sinks]


def _by_model(habits: Any) -> Any:
    """Habits by model; those of one alone, as runs had them once, are for people."""
    return {} if isinstance(habits, dict) and isinstance(habits.get("bos"), bool) else habits


class _Record(_Part):
    stages: dict[str, _Stage] = {}
    habits: Annotated[dict[str, _Habits], BeforeValidator(_by_model)] = {}
    versions: dict[str, str] = {}
    text: dict[str, str] = {}
    cuts: dict[str, str] = {}
    model_commit: str | None = None
    to_come: list[str] = []


def read_record(path: Path, again: str = "; delete it and run the recipe again") -> dict[str, Any]:
    """What `run.json` holds: versions, hashes, wall times.

    Args:
        path: the file.
        again: ends the error of a file that cannot be read: what to do about it.

    Raises:
        GlossaeError: it cannot be read, or a value that is used is of another kind.
    """
    try:
        content: dict[str, Any] = read_json(path)
        _Record.model_validate(content)
    except ValidationError as error:
        raise GlossaeError(f"{path}: is broken ({first_fault(error)}){again}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise GlossaeError(f"{path}: is broken ({error}){again}") from error
    return content
