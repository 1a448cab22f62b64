"""Everything a run can be told, with its type, its limits and what it means.

The text under a setting is its line in `glossae run --help`.
"""

import dataclasses
import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from glossae.recipe.fields import (
    DISTINCT,
    NOT_EMPTY,
    BadSettingError,
    Settings,
    above,
    at_least,
    between,
    matches,
)

Count: TypeAlias = Annotated[int, at_least(1)]
Fraction: TypeAlias = Annotated[float, between(0, 1)]
Text: TypeAlias = Annotated[str, NOT_EMPTY]
Language: TypeAlias = Annotated[
    str, matches("[a-z]{2,3}", "a language code of two or three lower-case letters, such as da")
]


@dataclass(frozen=True, kw_only=True)
class Languages(Settings):
    """Which languages are told apart."""

    group: ClassVar[str] = "languages"

    target: Language = "da"
    """The language whose units are looked for."""
    reference: Language = "en"
    """The language that they must leave alone."""
    others: Annotated[tuple[Language, ...], DISTINCT] = ()
    """More languages to measure the units on, where the text has them."""

    def check(self) -> None:
        """The target, the reference and the others are different languages."""
        if self.target == self.reference:
            self.refuse("reference", f"must be another language than languages.target, {self.target!r}")
        for language in self.others:
            if language in (self.target, self.reference):
                self.refuse("others", f"{language!r} is already the target or the reference")


@dataclass(frozen=True, kw_only=True)
class Corpora(Settings):
    """Where the text comes from. A role takes one or several sources, separated by blanks."""

    group: ClassVar[str] = "corpora"

    text: Text | None = None
    """Text in every language out of which all roles but replicate are cut, such as "sv=A.txt en=B.txt da=C.txt"; takes
    the place of corpora.train, select, tune, test and panel."""
    train: Text | None = None
    """Text for the autoencoder and the probes; none: cut out of corpora.text."""
    select: Text | None = None
    """Text on which units are selected; none: 30 % of train."""
    tune: Text | None = None
    """Text on which doses are set; none: 20 % of what is left of select."""
    test: Text | None = None
    """Text for every claim; none: half of select."""
    panel: Text | None = None
    """Text of one kind in all languages, on which units are tested against each language; none: select."""
    replicate: Text | None = None
    """Text of another kind in all languages, on which the units found are tested again; none: they are not."""
    limit: Count | None = None
    """At most this many sentences of each language in train, before other roles are cut out of it."""
    panel_limit: Count | None = None
    """At most this many sentences of each language in panel (half of them are held out) and replicate; none: all."""
    test_limit: Count | None = None
    """At most this many sentences of each language in each of select, tune and test; none: all."""

    def check(self) -> None:
        """There is text, and no role is both given and cut out of corpora.text."""
        if self.text is None and self.train is None:
            self.refuse("text", "give this or corpora.train")
        for role in ("train", "select", "tune", "test", "panel"):
            if self.text is not None and getattr(self, role) is not None:
                self.refuse(
                    role, f"is cut out of corpora.text: give corpora.text or corpora.{role}, not both"
                )

    @property
    def sources(self) -> dict[str, str | None]:
        """What is given per role, and as `text`."""
        roles = ("text", "train", "select", "tune", "test", "panel", "replicate")
        return {role: getattr(self, role) for role in roles}


# the paper's grid has autoencoders of four times its site's width
GRID_EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class Probe(Settings):
    """The probes that find the layer where the languages part."""

    group: ClassVar[str] = "probe"

    models: Annotated[tuple[Text, ...], DISTINCT] = ()
    """The models to probe; none: the run's own."""
    lambdas: Annotated[tuple[Annotated[float, above(0)], ...], NOT_EMPTY, DISTINCT] = tuple(
        0.1 * 300 ** (step / 9) for step in range(10)
    )
    """Strengths of the penalty."""
    seeds: Count = 3
    """Samples and splits, for standard errors."""
    tokens: Annotated[int, at_least(100)] = 40_000
    """Tokens in a sample, half of them per language."""
    paper: bool = True
    """Fit the paper's probes (Figure 3) also where they do not choose the layer. Recipes by the paper and those with
    probe.models or probe.as_coded always do."""
    as_coded: bool = False
    """Also replay the paper's own optimisation (Adam, 329 to 544 batches of 32 sentences by the model) at each of
    lambdas, to set what its probes come to beside the optimum."""


@dataclass(frozen=True, kw_only=True)
class Grid(Settings):
    """Small autoencoders of many kinds, trained side by side: which kind suits. Without k and l1 there are none."""

    group: ClassVar[str] = "grid"

    k: Annotated[tuple[Count, ...], DISTINCT] = ()
    """Latents active at a token, for topk: an autoencoder of each, with every tied and pre_encoder_bias."""
    l1: Annotated[tuple[Annotated[float, above(0)], ...], DISTINCT] = ()
    """Weights of the L1 penalty, for relu: likewise."""
    tied: Annotated[tuple[bool, ...], NOT_EMPTY, DISTINCT] = (False, True)
    """Whether the encoder's matrix is the decoder's."""
    pre_encoder_bias: Annotated[tuple[bool, ...], NOT_EMPTY, DISTINCT] = (True, False)
    """Whether a bias is taken off before encoding and added again after decoding."""
    expansion: Count | None = None
    """Latents per dimension of the site; none: four, or grid.latents. The rest of the training is as sae.* says."""
    latents: Count | None = None
    """Latents in all; takes the place of grid.expansion."""
    model: Text | None = None
    """The model whose activations they are trained on; none: the run's own."""
    layer: Annotated[int, at_least(0)] | None = None
    """The layer; none: the run's. The site is the run's."""

    @property
    def wanted(self) -> bool:
        """Whether there is anything to train."""
        return bool(self.k or self.l1)

    def size(self, d_in: int) -> int:
        """Latents of each, on a site of this width."""
        return self.latents or (self.expansion or GRID_EXPANSION) * d_in

    def check(self) -> None:
        """One size, and enough latents for every k."""
        if self.expansion is not None and self.latents is not None:
            self.refuse("latents", "give either this or grid.expansion, not both")
        if self.latents is not None and self.k and max(self.k) > self.latents:
            self.refuse("k", f"must be at most grid.latents, {self.latents}, got {max(self.k)}")


@dataclass(frozen=True, kw_only=True)
class SaeSettings(Settings):
    """The sparse autoencoder and its training."""

    group: ClassVar[str] = "sae"

    expansion: Count | None = None
    """Latents per dimension of the site; takes the place of sae.latents."""
    latents: Count | None = None
    """Latents in all; takes the place of sae.expansion."""
    from_: Text | None = None
    """An autoencoder to take instead of training one: a folder, a file, or hub:REPO[@REVISION][/FOLDER][/FILE]."""
    activation: Literal["topk", "batchtopk", "relu", "jumprelu"] = "topk"
    """What makes the latents sparse."""
    k: Count = 32
    """Latents active at a token. batchtopk and jumprelu: on average; relu has sae.l1 instead."""
    l1: Annotated[float, above(0)] | None = None
    """Weight of the L1 penalty on the latents, for relu."""
    tied: bool = False
    """Whether the encoder's matrix is the decoder's."""
    pre_encoder_bias: bool = True
    """Whether a bias is taken off before encoding and added again after decoding; else there is none."""
    centre: Literal["mean", "geometric_median", "zero"] = "mean"
    """Where that bias starts, from the first batch (published: at random)."""
    unit_rows: bool = True
    """Keep the decoder's rows at length 1 (published: they are free)."""
    text: Literal["pair", "all"] = "pair"
    """Which languages of train it is trained on: the target and the reference, or the others too."""
    matryoshka: Annotated[tuple[Count, ...], DISTINCT] = ()
    """Sizes of nested dictionaries that are each to reconstruct by themselves, besides the whole; none: no such."""
    lr: Annotated[float, above(0)] | None = None
    """Learning rate; none: by the law for the number of latents."""
    epochs: Count = 1
    """Passes over the text."""
    batch_tokens: Count = 1024
    """Tokens a step."""
    batch_sentences: Count | None = None
    """Sentences a step, as in the paper; used instead of sae.batch_tokens when given."""
    aux_k: Annotated[int, at_least(0)] | Literal["auto"] = "auto"
    """Dead latents that learn from the error at each token; 0: none do, auto: half the site's width."""
    warmup: Fraction = 0.05
    """Share of the steps in which the learning rate rises."""
    decay: Fraction = 0.2
    """Share of the steps, at the end, in which it falls to zero."""
    encoder_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's product in training; auto: bfloat16 where the device is built for it."""
    precision: Annotated[float, above(0)] = 0.02
    """Losses with the autoencoder spliced in are measured on ever more sentences, until half the 95 % interval of their
    change is at most this, nats a token, or a tenth of it (published, as_coded: on all of select)."""
    checkpoint: Annotated[float, at_least(0)] | None = 3.0
    """Minutes between checkpoints, from which a run that was cut off carries on; none: no checkpoints."""

    def check(self) -> None:
        """One size, enough latents for k, a penalty for relu, and no more warm-up and decay than there are steps."""
        if self.expansion is not None and self.latents is not None:
            self.refuse("latents", "give either this or sae.expansion, not both")
        if self.expansion is None and self.latents is None and self.from_ is None:
            self.refuse("latents", "give this or sae.expansion")
        if self.latents is not None and self.activation != "relu" and self.k > self.latents:
            self.refuse("k", f"must be at most sae.latents, {self.latents}, got {self.k}")
        if self.activation == "relu" and self.l1 is None:
            self.refuse("l1", "relu needs it: without a penalty every latent would be active")
        if self.activation != "relu" and self.l1 is not None:
            self.refuse("l1", f"is for sae.activation relu, not {self.activation}, whose sparsity is sae.k")
        if self.warmup + self.decay > 1:
            self.refuse("decay", f"must leave room for sae.warmup, {self.warmup}, within 1, got {self.decay}")
        if self.latents is not None and self.matryoshka and max(self.matryoshka) >= self.latents:
            self.refuse(
                "matryoshka", f"sizes must be below sae.latents, {self.latents}, got {self.matryoshka}"
            )


@dataclass(frozen=True, kw_only=True)
class Evidence(Settings):
    """Tests of which units are the language, against each other language, with a false discovery rate."""

    group: ClassVar[str] = "evidence"

    minimum: Annotated[float, between(0.5, 0.99)] = 0.8
    """A unit has to rank sentences of one language above another's more often than this (an AUROC)."""
    q: Annotated[float, above(0), between(0, 0.5)] = 0.05
    """The share of false discoveries that is put up with."""
    method: Literal["exact", "studentised"] = "exact"
    """How p-values are found: by a bound that always holds, or by a normal approximation, which finds more."""
    permutations: Annotated[int, at_least(0)] = 1000
    """Shuffles of the sentences' languages, for family-wise control and to check calibration; 0: none."""
    scores: bool = True
    """Also rank the units by the field's other scores, and say how far they agree."""
    tokens: Count = 1
    """Join sentences into passages of at least so many tokens, and rank those; 1: each sentence by itself. A unit's
    mean over few tokens varies more, so units look worse on short sentences."""
    seeds: Annotated[int, at_least(0)] = 0
    """Train so many more autoencoders with other seeds, and see which of the units come again; 0: none."""
    ambiguous: Literal["keep", "drop"] = "keep"
    """What becomes of sentences whose words belong to two of the languages alike: they are counted, or set aside."""
    identify: bool = True
    """Also tell languages apart, sentences and tokens, by a few units, the whole activation and n-grams."""
    identify_units: Annotated[tuple[Count, ...], NOT_EMPTY, DISTINCT] = (1, 5, 20)
    """By so many units a language."""
    identify_languages: Annotated[tuple[Language, ...], DISTINCT] = ()
    """Tell these apart too, together, beside the pair, all of the panel, and the target and each other one."""

    def check(self) -> None:
        """There is nothing to tell one language from."""
        if len(self.identify_languages) == 1:
            self.refuse("identify_languages", "takes two languages or more")


@dataclass(frozen=True, kw_only=True)
class Features(Settings):
    """The rule that says which units are the language."""

    group: ClassVar[str] = "features"

    rule: Literal["paper", "tested"] = "paper"
    """Take the units by the paper's thresholds, or those that pass the tests of evidence.* against every language."""
    at_most: Count = 20
    """With rule tested, take so many at most: those that are furthest from every other language."""
    min_target: Fraction = 0.5
    """A unit fires on more than this share of the target's tokens."""
    max_reference: Fraction = 0.01
    """And on less than this share of the reference's."""
    fallback: Annotated[int, at_least(0)] = 4
    """How many units to take, marked as such, when none passes; 0: none."""
    max_reference_fallback: Fraction = 0.02
    """The share of the reference's tokens under which those must stay."""
    units: Annotated[tuple[Annotated[int, at_least(0)], ...], DISTINCT] = ()
    """Take these units as the language's instead of selecting; none: select."""


@dataclass(frozen=True, kw_only=True)
class Baselines(Settings):
    """What training adds: the autoencoder's units beside those of untrained ones and of what needs no autoencoder."""

    group: ClassVar[str] = "baselines"

    untrained: Annotated[int, at_least(0)] = 3
    """So many untrained autoencoders, each of another seed, whose units are found by the same rule; 0: no baselines."""
    trained: Annotated[int, at_least(0)] = 0
    """So many more trained autoencoders, in the same pass over the text, each of another seed."""
    frozen: Annotated[int, at_least(0)] = 0
    """So many autoencoders, in the same pass, whose decoder stays random and whose encoder is trained."""
    sizes: Annotated[tuple[Count, ...], NOT_EMPTY, DISTINCT] = (1, 4, 10)
    """Sets of so many units are switched off, those furthest from every other language."""
    damage: Annotated[tuple[Annotated[float, above(0)], ...], DISTINCT] = (0.1, 0.3)
    """Sets of the largest size are also turned down until the target's loss has risen by so much, nats a token."""
    precision: Annotated[float, above(0)] = 0.02
    """Sentences are added until half the 95 % interval of each change of loss is at most this, nats a token, or a tenth
    of the change."""
    lape: bool = True
    """Also switch off the LAPE neurons of all layers."""


@dataclass(frozen=True, kw_only=True)
class Effects(Settings):
    """What turning the units up and down does."""

    group: ClassVar[str] = "effects"

    sweep: bool = True
    """Fix the selected units at each of the values, and measure other sets beside; false: the stage is left out."""
    values: Annotated[tuple[float, ...], NOT_EMPTY, DISTINCT] = tuple(map(float, range(-8, 9, 2)))
    """The values the units are fixed at."""
    unit: Literal["latent", "p99"] = "latent"
    """What the values count: the latent's own units, or its 99th percentile on target text."""
    bootstrap: Annotated[int, at_least(2)] = 1000
    """Resamples of the sentences behind an interval."""
    families: Annotated[tuple[Literal["latent", "neuron", "direction"], ...], DISTINCT] = (
        "latent",
        "neuron",
        "direction",
    )
    """What is measured beside the selected latents: other languages' latents and those of three autoencoders of random
    weights; the best neurons; the difference of means and the probe's direction."""
    sentences: Count | None = None
    """Of each text and language at most so many sentences; none: all."""
    precision: Annotated[float, above(0)] | None = 0.03
    """Sentences are added until half the 95 % interval of each change of loss under the selected units' edits is at
    most this, nats a token, or a tenth of the change; none: all sentences are measured."""
    tune: bool = True
    """Also choose the dose with the target's lowest loss on tune, and test it on test."""
    controls: Annotated[int, at_least(0)] = 0
    """Draw so many sets of other latents, and so many random directions, to rank the selected ones among; 0: none."""
    controls_edits: Annotated[tuple[Literal["zero", "mean", "set"], ...], NOT_EMPTY, DISTINCT] = ("zero",)
    """What is done to drawn latents, each at the cost of a pass a draw: they are switched off, brought to their mean
    on the reference's text, or set at the dose that costs the target 0.3 nats."""
    controls_on: Annotated[tuple[Language, ...], DISTINCT] = ()
    """Languages of test besides the target and the reference that draws are measured on, so that sets are compared by
    how much more the target loses than the nearest of the others, too."""
    prompts: bool = True
    """Continue the paper's eight prompts, raw and steered."""
    max_length: Count = 20
    """Tokens of a prompt and its continuation together; at least one is new."""


@dataclass(frozen=True, kw_only=True)
class Steering(Settings):
    """Prompts continued under families of units over doses, beside each other. Without prompts there is none."""

    group: ClassVar[str] = "steering"

    prompts: Annotated[int, at_least(0)] = 0
    """Prompts cut from the reference's sentences of test, beside the paper's own; 0: nothing is steered."""
    prompt_tokens: Annotated[int, at_least(2)] = 8
    """Their length; only sentences of at least twice that are cut."""
    tokens: Count = 20
    """New tokens of each continuation."""
    ending: bool = False
    """Let a continuation end where the model ends it; else all are steering.tokens long."""
    values: Annotated[tuple[Annotated[float, above(0)], ...], NOT_EMPTY, DISTINCT] = (1.0, 2.0, 4.0, 8.0)
    """Doses: 1 takes each unit from its mean on the reference's text to that on the target's."""
    kl: Annotated[tuple[Annotated[float, above(0)], ...], DISTINCT] = (0.1, 0.3, 1.0)
    """Nats a token by which the reference's text may differ: a dose is looked for that does just this."""
    families: Annotated[
        tuple[
            Literal["latents_set", "latents_add", "neurons_set", "neurons_add", "means_add", "means_project"],
            ...,
        ],
        NOT_EMPTY,
        DISTINCT,
    ] = ("latents_set", "latents_add", "neurons_add", "means_add", "means_project")
    """What is compared: the selected latents set or added, the best neurons, the difference of means."""
    sample: bool = False
    """Draw every token, by the run's seed, instead of taking the most probable one."""
    examples: Annotated[int, at_least(0)] = 4
    """Cut prompts whose continuations are shown, besides the paper's."""

    @property
    def wanted(self) -> bool:
        """Whether anything is steered."""
        return self.prompts > 0


@dataclass(frozen=True, kw_only=True)
class Tasks(Settings):
    """Downstream tasks with the units fixed at each value. Without tasks.names there are none."""

    group: ClassVar[str] = "tasks"

    names: Text | None = None
    """Labelled sets, separated by blanks: angry-tweets, scala-da and tweet-sentiment (from the hub), toy-sentiment:da,
    NAME:CODE=SOURCE (a folder, a file, hub:OWNER/NAME, scala:TREEBANK); none: none."""
    values: Annotated[tuple[float, ...], NOT_EMPTY, DISTINCT] = (-8.0, -4.0, 0.0, 4.0, 8.0)
    """The values the units are fixed at; they count what effects.unit says."""
    protocol: Literal["controlled", "as_coded", "both"] = "controlled"
    """How the final state is read: by scaled regressions solved to the end, as the paper's code does, or both ways."""
    rows: Annotated[int, at_least(100)] = 4000
    """At most this many rows of a task, to learn from and to test on together; as_coded has its own 2,000."""
    finetune: bool = False
    """Also fine-tune the model with each edit in place (LoRA, error-preserving edits), which needs peft."""
    seeds: Count = 3
    """Fine-tunings of each."""
    epochs: Count = 3
    """Passes of a fine-tuning over its rows."""

    @property
    def wanted(self) -> bool:
        """Whether there is any task."""
        return self.names is not None


@dataclass(frozen=True, kw_only=True)
class Report(Settings):
    """The page at the end."""

    group: ClassVar[str] = "report"

    texts: Annotated[int, at_least(0)] = 6
    """Sentences of each language shown with their tokens coloured."""
    title: Text | None = None
    """The page's title; none: made from the model and the languages."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Everything a run does."""

    name: Annotated[str, matches(r"[^./\\][^/\\]*", "a name without slashes that starts with no dot")]
    """What the recipe is called; if it does not say, its file's name."""
    description: str = ""
    """One line for `glossae recipes`."""
    model: Text
    """A model on the hub (`ID` or `ID@REVISION`), a folder, a GGUF file, or toy."""
    site: Literal["mlp.hidden", "mlp.out", "attn.out", "resid"] = "mlp.hidden"
    """The place in a layer: what the MLP's output projection reads, what the MLP or the attention adds,
    or the residual stream after the block."""
    layer: Annotated[int, at_least(0)] | Literal["auto"] = "auto"
    """The layer, counted from 0; auto: where the target is told from the nearest language of the panel, or without a
    third language and by the paper from the reference."""
    protocol: Literal["controlled", "published", "as_coded"] = "controlled"
    """The paper's experiments without their known flaws, or as the paper's text has them, or beside that also as its
    code does: see the report's section on it."""
    seed: Annotated[int, between(0, 2**32 - 1)] = 0
    """The seed of everything drawn at random."""
    device: Annotated[str, matches(r"auto|cpu|cuda(:\d{1,3})?|split", "auto, cpu, cuda, cuda:N or split")] = (
        "auto"
    )
    """Where to compute: cpu, cuda or cuda:N; auto: a GPU if there is one; split: the model shared out among
    all GPUs, which needs accelerate."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The model's precision; auto: bfloat16 on a GPU, and on a CPU that is fast in it where the loss stays the same;
    else float32."""
    bos: bool | Literal["auto"] = "auto"
    """Put the model's beginning-of-text token before each sentence; auto: if the model's tokenizer does so by
    itself."""
    chat: bool = False
    """Read each sentence as the reply in a chat, and prompt as its user, with the tokenizer's chat template."""
    max_tokens: Annotated[int, at_least(2)] | Literal["auto"] = "auto"
    """Longer texts are cut to this many tokens, and counted; auto: 256, or as many as the model has positions
    for."""
    batch_tokens: Count = 1024
    """Tokens the language model reads at a time."""
    languages: Languages = Languages()
    corpora: Corpora
    probe: Probe = Probe()
    grid: Grid = Grid()
    sae: SaeSettings
    evidence: Evidence = Evidence()
    features: Features = Features()
    baselines: Baselines = Baselines()
    effects: Effects = Effects()
    steering: Steering = Steering()
    tasks: Tasks = Tasks()
    report: Report = Report()

    @property
    def by_the_paper(self) -> bool:
        """Whether probes and autoencoders are the paper's: its text decides, and its code where that is silent."""
        return self.protocol != "controlled"

    @property
    def fits_papers_probes(self) -> bool:
        """Whether the paper's probes, of the target against the reference, are fitted at every lambda."""
        return self.probe.paper or self.by_the_paper or bool(self.probe.models) or self.replays_probes

    @property
    def trained_languages(self) -> tuple[str, ...] | None:
        """The languages of train that the probes and the autoencoder read; None: all."""
        pair = (self.languages.target, self.languages.reference)
        return None if self.sae.text == "all" else pair

    @property
    def replays_probes(self) -> bool:
        """Whether the paper's optimisation of its probes is replayed."""
        return self.probe.as_coded or self.protocol == "as_coded"

    @property
    def task_protocol(self) -> Literal["controlled", "as_coded", "both"]:
        """How tasks are read; never without the paper's way where all of the recipe is as coded."""
        controlled = self.tasks.protocol == "controlled"
        return "both" if self.protocol == "as_coded" and controlled else self.tasks.protocol

    def check(self) -> None:
        """Settings that do not go together."""
        if self.chat and self.by_the_paper:
            raise BadSettingError(
                "chat", f"the paper reads no chats: leave it off, or protocol {self.protocol}"
            )
        if self.chat and self.bos != "auto":
            raise BadSettingError("bos", "has to be auto with chat: the chat template writes its own BOS")
        other = self.grid.model not in (None, self.model)
        if self.grid.wanted and other and self.grid.layer is None and self.layer == "auto":
            raise BadSettingError(
                "grid.model",
                f"needs grid.layer beside it: the probes choose a layer of {self.model}, not of {self.grid.model}",
            )
        if self.effects.controls and not self.effects.sweep:
            raise BadSettingError(
                "effects.controls", "needs effects.sweep: controls are held against what it measures"
            )
        for name in ("trained", "frozen"):
            if getattr(self.baselines, name) and self.sae.from_ is not None:
                raise BadSettingError(
                    f"baselines.{name}", "needs an autoencoder that is trained here, and sae.from gives one"
                )
        if self.evidence.seeds and self.sae.from_ is not None:
            raise BadSettingError(
                "evidence.seeds",
                "needs an autoencoder that is trained here: that of sae.from cannot be trained again with another seed",
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested dictionaries, with lists and scalars in them: as JSON and YAML have them."""
        return dataclasses.asdict(self, dict_factory=_with_lists)

    def to_yaml(self) -> str:
        """The recipe as YAML; `load_recipe` reads it back equal."""
        from glossae.recipe import yaml_text

        return yaml_text.write(self.to_dict())


def _with_lists(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name.removesuffix("_"): list(value) if isinstance(value, tuple) else value for name, value in items
    }


def declared_languages(text: str) -> tuple[tuple[str, ...], bool]:
    """The languages that source strings name, in order, and whether they name all that the sources have.

    `da=PATH`, `da=PATH,en=PATH` and `cols:en,da:PATH` name them; of other sources only reading tells.

    Args:
        text: source strings separated by blanks.
    """
    found: dict[str, None] = {}
    is_all = True
    try:
        words = shlex.split(text)
    except ValueError:
        # reading the text says that a quote is not closed
        return (), False
    for word in words:
        if word.startswith("cols:"):
            codes = [code for code in word.split(":")[1].split(",") if code.strip() != "-"]
        elif re.match(r"[\w-]+=", word):
            codes = [part.partition("=")[0] for part in re.split(r",(?=[\w-]+=)", word)]
        else:
            codes = []
        found |= dict.fromkeys(re.split("[-_]", code.strip().lower())[0] for code in codes)
        is_all = is_all and bool(codes)
    return tuple(found), is_all
