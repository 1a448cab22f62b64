"""The contract of `results.json`, as typed classes.

A stage returns the keys that it fills as `StageResults`; the engine joins them into `Results`, which is what
`results.json` holds and what `open_run(...).results` gives back. Rates, shares and AUROCs lie between 0 and 1, losses
are in nats a token where the name does not say otherwise, languages are codes. What a run did not measure is None.
"""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from glossae.errors import GlossaeError

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


# ---- corpora, probe, grid, sae

# ---- evidence, stability, features

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
    """The units of an autoencoder, or a site's coordinates, that one rule finds."""

    group: str
    """`trained`, `frozen decoder`, `untrained` or `coordinates`."""
    seed: int
    units: int
    passing: int
    """How many pass the run's test on the half of the panel that is searched."""
    paper: int | None
    """How many latents pass the paper's rule there; None for coordinates."""
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
    """What training adds: units of trained and untrained autoencoders by one rule, switched off."""

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
    """What the run's rule takes of an autoencoder's latents as a language's."""

    units: str
    """The set's name."""
    language: str
    """Whose latents were looked for."""
    seed: int | None
    """Of an autoencoder's random weights; None for the trained one."""
    asked: str
    """The rule that the recipe asks for (`features.rule`)."""
    rule: str
    """How the set came about: `Selection.rule`, such as `fallback` where no latent passes."""
    passing: int | None
    """How many latents pass the rule that is asked for; None where nothing could be tested."""
    of: int
    text: str
    """The hash of the text that the rule read."""
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


# ---- the whole


class StageResults(Result):
    """The keys of `results.json` that stages fill; a stage that was not run leaves None.

    A stage of one's own may fill a key of its own, with a `Result` or what JSON has.
    """

    model_config = ConfigDict(extra="allow")

    corpora: Any = None
    """The text: a row for each role, file and language."""
    probe: Any = None
    """The layer, and the probes that it is chosen by."""
    grid: Any = None
    """Small autoencoders of many kinds, where a grid was asked for."""
    sae: Any = None
    """The autoencoder."""
    evidence: Any = None
    """The tests of which units stand for a language."""
    stability: Any = None
    """Whether the units come again in autoencoders of other seeds, where those were asked for."""
    features: Any = None
    """The units that the run's rule selects."""
    baselines: Baselines | None = None
    """What training adds: trained and untrained autoencoders by one rule."""
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

    def joined(self: "Kind", *others: "StageResults") -> "Kind":
        """With the keys that others fill."""
        filled = {key: getattr(other, key) for other in others for key in other.model_fields_set}
        return self.model_copy(update=filled)

    def summary(self) -> dict[str, Any]:
        """What JSON holds of the keys that were filled."""
        return {key: value for key, value in self.to_json().items() if key in self.model_fields_set}


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
    published: Any = None
    """The paper's own figures, where the recipe is `paper`."""


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
        content = json.loads(path.read_text(encoding="utf-8"))
        if (
            isinstance(content, dict)
            and (version := content.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION
        ):
            raise GlossaeError(
                f"{path}: schema_version {version} has other keys than this glossae reads, which are those of "
                f"{SCHEMA_VERSION}: run the same command again, which writes it anew"
            )
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise GlossaeError(f"{path}: cannot be read ({where}: {first['msg']}){again}") from error
    except (OSError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){again}") from error
