"""All settings of a run, with their types, limits and meaning.

The text under a setting is its line in `glossae run --help`.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from glossae.languages import overlapping
from glossae.recipe import yaml_text
from glossae.recipe.fields import DEVICE, LINE, NAME, TEXT, Language, Problems, Settings, Some, Values

Whole: TypeAlias = Annotated[int, Field(ge=0)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Seed: TypeAlias = Annotated[int, Field(ge=0, le=2**32 - 1)]
# what a loop counts up to; sizes have no limit here, because memory is named first
Times: TypeAlias = Annotated[int, Field(ge=1, le=2**31 - 1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Text: TypeAlias = Annotated[str, Field(pattern=TEXT)]

CUT_ROLES = ("train", "select", "tune", "test", "panel")
"""The roles whose text is cut out of `corpora.text` where that is given."""


class Languages(Settings, title="languages"):
    """The languages that units are looked for and measured in."""

    target: Language = "da"
    """The language whose units are looked for; of corpora.text the first language besides the reference."""
    reference: Language = "en"
    """The language that the units must leave alone."""
    others: Values[Language] = ()
    """More languages to measure the units on, where the text has them."""

    def problems(self) -> Problems:
        """The target, the reference and the others are different languages."""
        if self.target == self.reference:
            yield "reference", f"must be another language than languages.target, {self.target!r}"
        for language in self.others:
            if language in (self.target, self.reference):
                yield "others", f"{language!r} is already the target or the reference"
        if both := overlapping((self.target, self.reference, *self.others)):
            yield "others", f"{both[1]!r} is part of {both[0]!r} (Norwegian): name one of the two"


class Corpora(Settings, title="corpora"):
    """The text of each role: one or several sources, separated by blanks."""

    text: Text | None = None
    """Text in every language, such as "sv=A.txt en=B.txt da=C.txt". All roles but replicate are cut out of it."""
    train: Text | None = None
    """Text for the autoencoder and the probes; none: cut out of corpora.text."""
    select: Text | None = None
    """Text on which units are selected; none: 30 % of train."""
    tune: Text | None = None
    """Text on which doses are set; none: 20 % of what is left of select."""
    test: Text | None = None
    """Text on which every claim is tested; none: half of select."""
    panel: Text | None = None
    """Text of one kind in all languages, on which units are tested against each language; none: select."""
    replicate: Text | None = None
    """Text of another kind in all languages, on which the found units are tested again; none: no second test."""
    limit: Count | None = None
    """At most this many sentences of each language in train, before other roles are cut out of it; none: all."""
    panel_limit: Count | None = None
    """At most this many sentences of each language in panel (half of them are held out) and replicate; none: all."""
    test_limit: Count | None = None
    """At most this many sentences of each language in each of select, tune and test; none: all."""

    def problems(self) -> Problems:
        """There is text, and no role is both given and cut out of corpora.text."""
        if self.text is None and self.train is None:
            yield "text", "give this or corpora.train"
        for role in CUT_ROLES:
            if self.text is not None and getattr(self, role) is not None:
                yield role, f"is cut out of corpora.text: give corpora.text or corpora.{role}, not both"

    @property
    def sources(self) -> dict[str, str | None]:
        """The sources of each role, and of `text`."""
        return {role: getattr(self, role) for role in ("text", *CUT_ROLES, "replicate")}


class Probe(Settings, title="probe"):
    """The probes that find the layer where the languages differ."""

    models: Values[Text] = ()
    """The models to probe; none: the run's own."""
    lambdas: Some[Positive] = tuple(0.1 * 300 ** (step / 9) for step in range(10))
    """Strengths of the penalty."""
    seeds: Times = 3
    """Number of samples and splits, for standard errors."""
    tokens: Annotated[int, Field(ge=100)] = 40_000
    """Tokens in a sample, half of them of each language."""
    paper: bool = True
    """Fit the paper's probes (Figure 3); false: only where protocol, layer, probe.models or as_coded need them."""
    as_coded: bool = False
    """Also replay the paper's optimisation (Adam, 329 to 544 batches of 32 sentences) at each of probe.lambdas."""


class Grid(Settings, title="grid"):
    """Small autoencoders of many kinds, trained side by side for comparison. Without k and l1 no grid is trained."""

    k: Values[Count] = ()
    """Latents active at a token, for topk: one autoencoder for each k, tied and pre_encoder_bias."""
    l1: Values[Positive] = ()
    """Weights of the L1 penalty, for relu: one autoencoder for each l1, tied and pre_encoder_bias."""
    tied: Some[bool] = (False, True)
    """Whether the encoder's matrix is the decoder's."""
    pre_encoder_bias: Some[bool] = (True, False)
    """Whether a bias is subtracted before encoding and added again after decoding."""
    expansion: Count | None = None
    """Latents per dimension of the site; none: four, or grid.latents. sae.* has the other settings of the training."""
    latents: Count | None = None
    """Number of latents; replaces grid.expansion."""
    model: Text | None = None
    """The model whose activations the grid is trained on; none: the run's own."""
    layer: Whole | None = None
    """The layer; none: the run's. The site is the run's."""

    @property
    def wanted(self) -> bool:
        """Whether there is anything to train."""
        return bool(self.k or self.l1)

    def size(self, d_in: int) -> int:
        """Number of latents on a site of width `d_in`: by default four times the width, as in the paper."""
        return self.latents or (self.expansion or 4) * d_in

    def problems(self) -> Problems:
        """One size, and enough latents for every k."""
        if self.expansion is not None and self.latents is not None:
            yield "latents", "give either this or grid.expansion, not both"
        if self.latents is not None and self.k and max(self.k) > self.latents:
            yield "k", f"must be at most grid.latents, {self.latents}, got {max(self.k)}"


class SaeSettings(Settings, title="sae"):
    """The sparse autoencoder and its training."""

    expansion: Count | None = None
    """Latents per dimension of the site; replaces sae.latents."""
    latents: Count | None = None
    """Number of latents; replaces sae.expansion."""
    from_: Text | None = Field(default=None, alias="from")
    """An autoencoder to read instead of training one: a folder, a file, or hub:REPO[@REVISION][/FOLDER][/FILE]."""
    activation: Literal["topk", "batchtopk", "relu", "jumprelu"] = "topk"
    """The activation function, which makes the latents sparse."""
    k: Count = 32
    """Latents active at a token; batchtopk and jumprelu: on average. relu has sae.l1 instead."""
    l1: Positive | None = None
    """Weight of the L1 penalty on the latents, for relu."""
    tied: bool = False
    """Whether the encoder's matrix is the decoder's."""
    pre_encoder_bias: bool = True
    """Whether a bias is subtracted before encoding and added again after decoding; else there is none."""
    centre: Literal["mean", "geometric_median", "zero"] = "mean"
    """First value of the pre-encoder bias: the first batch's mean or geometric median, or zero (published: random)."""
    unit_rows: bool = True
    """Keep the decoder's rows at length 1 (published: they are free)."""
    stream: Text | None = None
    """Text of any size for the autoencoder alone, in place of train: .txt, .jsonl and .parquet files (.gz, .zst) or
    folders of them, hub:OWNER/NAME; ,text=COLUMN names the column. Sentences of the other roles are left out."""
    tokens: Count | None = None
    """Number of tokens of sae.stream to train on."""
    text: Literal["pair", "all"] = "pair"
    """Languages of train that the autoencoder is trained on: the target and the reference, or the others too."""
    matryoshka: Values[Count] = ()
    """Sizes of nested dictionaries. Each reconstructs by itself, besides the whole; none: no nested dictionaries."""
    lr: Positive | None = None
    """Learning rate; none: computed from the number of latents."""
    epochs: Times = 1
    """Passes over the text."""
    batch_tokens: Count = 1024
    """Tokens in a step."""
    batch_sentences: Count | None = None
    """Sentences in a step, as in the paper; replaces sae.batch_tokens."""
    aux_k: Whole | Literal["auto"] = "auto"
    """Number of dead latents that learn from the error at each token; auto: half the site's width."""
    warmup: Fraction = 0.05
    """Share of the steps in which the learning rate rises."""
    decay: Fraction = 0.2
    """Share of the steps, at the end, in which the learning rate falls to zero."""
    encoder_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the products of the encoder and of AuxK in training; auto: bfloat16 where the device has it."""
    moments: Literal["float32", "bfloat16"] = "float32"
    """Precision of Adam's two moments of the weights; bfloat16 takes two thirds of the memory, and more time."""
    precision: Positive = 0.02
    """Losses with the autoencoder spliced in are measured on more and more sentences, until half the 95 % interval of
    their change is at most this many nats a token, or a tenth of the change (published, as_coded: on all of select)."""
    activations: Text | None = None
    """A folder that keeps the activations that autoencoders are trained on. Later trainings on the same batches of text
    read them there and do not run the model."""
    checkpoint: Annotated[float, Field(ge=0)] | None = 3.0
    """Minutes between checkpoints, from which an interrupted run carries on; none: no checkpoints."""

    def problems(self) -> Problems:
        """One size, enough latents for k, a penalty for relu, and no more warm-up and decay than there are steps."""
        if self.expansion is not None and self.latents is not None:
            yield "latents", "give either this or sae.expansion, not both"
        if self.expansion is None and self.latents is None and self.from_ is None:
            yield "latents", "give this or sae.expansion"
        if self.latents is not None and self.activation != "relu" and self.k > self.latents:
            yield "k", f"must be at most sae.latents, {self.latents}, got {self.k}"
        if self.activation == "relu" and self.l1 is None:
            yield "l1", "relu needs it: without a penalty every latent would be active"
        if self.activation != "relu" and self.l1 is not None:
            yield "l1", f"is for sae.activation relu, not {self.activation}, whose sparsity is sae.k"
        if self.stream is not None and self.tokens is None:
            yield "tokens", "is missing: say how many tokens of sae.stream to train on"
        if self.stream is None and self.tokens is not None:
            yield "tokens", "is for sae.stream: all of train is trained on (corpora.limit makes it less)"
        if self.stream is not None and self.batch_sentences is not None:
            yield "batch_sentences", "is for train: with sae.stream, give sae.batch_tokens"
        if self.warmup + self.decay > 1:
            yield "decay", f"must leave room for sae.warmup, {self.warmup}, within 1, got {self.decay}"
        if self.latents is not None and self.matryoshka and max(self.matryoshka) >= self.latents:
            yield "matryoshka", f"sizes must be below sae.latents, {self.latents}, got {self.matryoshka}"


class Evidence(Settings, title="evidence"):
    """Tests of which units stand for the language, against each other language, with a false discovery rate."""

    minimum: Annotated[float, Field(ge=0.5, le=0.99)] = 0.8
    """A unit has to rank sentences of one language above another's more often than this (an AUROC)."""
    q: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """The accepted share of false discoveries."""
    method: Literal["exact", "studentised"] = "exact"
    """How p-values are computed: from a bound that always holds, or from a normal approximation, which finds more."""
    permutations: Whole = 1000
    """Shuffles of the sentences' languages, for family-wise control and to check calibration."""
    scores: bool = True
    """Also rank the units by the field's other scores, and report how far the rankings agree."""
    tokens: Count = 1
    """Join sentences into passages of at least this many tokens, on which a unit's mean varies less; 1: do not join."""
    seeds: Whole = 0
    """Number of autoencoders to train with other seeds, to see which of the units come again."""
    ambiguous: Literal["keep", "drop"] = "keep"
    """Whether sentences whose words belong equally to two of the languages are kept or dropped."""
    identify: bool = True
    """Also identify the language of sentences and tokens by a few units, the whole activation and n-grams."""
    identify_units: Some[Count] = (1, 5, 20)
    """Numbers of units per language that the identification uses."""
    identify_languages: Values[Language] = ()
    """Also identify these languages together, beside the pair, all of the panel, and the target and each other one."""

    def problems(self) -> Problems:
        """Identification takes two languages or more."""
        if len(self.identify_languages) == 1:
            yield "identify_languages", "takes two languages or more"


class Features(Settings, title="features"):
    """How the units of the language are selected: by the rate rule or by tests."""

    rule: Literal["paper", "tested"] = "paper"
    """The rate rule of min_target and max_reference (paper), or the tests of evidence.* against all others (tested)."""
    at_most: Count = 20
    """With features.rule tested, select at most this many: the units that are furthest from every other language."""
    min_target: Fraction = 0.5
    """A unit fires on more than this share of the target's tokens."""
    max_reference: Fraction = 0.01
    """A unit fires on less than this share of the reference's tokens."""
    fallback: Whole = 4
    """Number of units to select when none passes; the page marks them."""
    max_reference_fallback: Fraction = 0.02
    """Units of the fallback fire on less than this share of the reference's tokens."""
    units: Values[Whole] = ()
    """Take these units instead of selecting; none: select."""


class Dashboards(Settings, title="dashboards"):
    """A page for each unit: contexts from the whole text, density, logit effects, nearest units."""

    units: Whole = 40
    """At most this many units: the selected latents; other latents that pass a test, neurons and directions in turn;
    latents near the rate rule. 0: none."""
    sentences: Count | None = None
    """At most this many sentences of each language, drawn from all roles but replicate; none: all."""


class Baselines(Settings, title="baselines"):
    """Units of untrained autoencoders and of methods without an autoencoder, to compare the trained one's with."""

    untrained: Whole = 3
    """Number of untrained autoencoders, each with another seed, whose units pass the same test; 0: no baselines."""
    trained: Whole = 0
    """Number of further trained autoencoders, in the same pass over the text, each with another seed."""
    frozen: Whole = 0
    """Number of autoencoders, in the same pass, whose decoder stays random and whose encoder is trained."""
    sizes: Some[Count] = (1, 4, 10)
    """Sizes of the sets of units that are switched off: the units that are furthest from every other language."""
    damage: Values[Positive] = (0.1, 0.3)
    """Sets of the largest size are also turned down until the target's loss has risen by this many nats a token."""
    precision: Positive = 0.02
    """Half the 95 % interval of each change of loss, in nats a token, as in sae.precision."""
    lape: bool = True
    """Also switch off the LAPE neurons of all layers."""


class Effects(Settings, title="effects"):
    """The effect of turning the units up and down."""

    sweep: bool = True
    """Fix the selected units at each of the values, and measure other sets beside them; false: no such stage."""
    values: Some[float] = tuple(map(float, range(-8, 9, 2)))
    """The values that the units are fixed at."""
    unit: Literal["latent", "p99"] = "latent"
    """The unit of the values: the latent's own, or its 99th percentile on target text."""
    bootstrap: Annotated[int, Field(ge=2)] = 1000
    """Resamples of the sentences for an interval."""
    families: Values[Literal["latent", "neuron", "direction"]] = ("latent", "neuron", "direction")
    """Sets measured beside the selected latents: latent: other languages' latents and those of three autoencoders with
    random weights; neuron: the best neurons; direction: the difference of means and the probe's direction."""
    sentences: Count | None = None
    """At most this many sentences of each text and language; none: all."""
    precision: Positive | None = 0.03
    """Half the 95 % interval of each change of loss by the selected units, as in sae.precision; none: all sentences."""
    tune: bool = True
    """Also choose the dose with the target's lowest loss on tune, and test it on test."""
    controls: Whole = 0
    """Number of random sets of other latents, and of random directions, among which the selected ones are ranked."""
    controls_edits: Some[Literal["zero", "mean", "set"]] = ("zero",)
    """Edits of the random sets, each at the cost of a pass for each set: zero switches latents off, mean brings them to
    their mean on the reference's text, set fixes them at the dose that costs the target 0.3 nats."""
    controls_on: Values[Language] = ()
    """Languages of test on which random sets are measured too, to compare the target's loss with the nearest one's."""
    prompts: bool = True
    """Continue the paper's eight prompts, raw and steered."""
    max_length: Count = 20
    """Tokens of a prompt and its continuation together; at least one is new."""


class Steering(Settings, title="steering"):
    """Prompts continued under several families of units and doses, side by side."""

    prompts: Whole = 0
    """Number of prompts cut from the reference's sentences of test, beside the paper's own; 0: no steering."""
    prompt_tokens: Annotated[int, Field(ge=2)] = 8
    """Tokens of a cut prompt. Only sentences of at least twice this length are cut."""
    tokens: Count = 20
    """New tokens of each continuation."""
    ending: bool = False
    """Let a continuation end where the model ends it; else all have steering.tokens."""
    values: Some[Positive] = (1.0, 2.0, 4.0, 8.0)
    """Doses: 1 moves each unit from its mean on the reference's text to its mean on the target's."""
    kl: Values[Positive] = (0.1, 0.3, 1.0)
    """Search for the doses that change the reference's text by each of these values, in nats a token."""
    families: Some[
        Literal["latents_set", "latents_add", "neurons_set", "neurons_add", "means_add", "means_project"]
    ] = ("latents_set", "latents_add", "neurons_add", "means_add", "means_project")
    """Families to compare: the selected latents set or added, the best neurons, the difference of means."""
    sample: bool = False
    """Draw every token, by the run's seed, instead of taking the most probable one."""
    examples: Whole = 4
    """Number of cut prompts whose continuations the page shows, besides the paper's."""

    @property
    def wanted(self) -> bool:
        """Whether anything is steered."""
        return self.prompts > 0


class Tasks(Settings, title="tasks"):
    """Downstream tasks with the units fixed at each value."""

    names: Text | None = None
    """Labelled sets, separated by blanks: angry-tweets, scala-da and tweet-sentiment (from the hub), toy-sentiment:da,
    NAME:CODE=SOURCE (a folder, a file, hub:OWNER/NAME, scala:TREEBANK); none: no tasks."""
    values: Some[float] = (-8.0, -4.0, 0.0, 4.0, 8.0)
    """The values that the units are fixed at, in the unit of effects.unit."""
    protocol: Literal["controlled", "as_coded", "both"] = "controlled"
    """How the final state is read: by scaled regressions solved to the end, as the paper's code does, or both ways."""
    rows: Annotated[int, Field(ge=100)] = 4000
    """At most this many rows of a task, for training and test together; as_coded has its own 2,000."""
    finetune: bool = False
    """Also fine-tune the model with each edit in place (LoRA, error-preserving edits), which needs peft."""
    seeds: Times = 3
    """Number of fine-tunings with each edit."""
    epochs: Times = 3
    """Passes of a fine-tuning over its rows."""

    @property
    def wanted(self) -> bool:
        """Whether there is any task."""
        return self.names is not None


class Report(Settings, title="report"):
    """The page of the run."""

    texts: Whole = 6
    """Number of sentences of each language that the page shows with coloured tokens."""
    title: Text | None = None
    """The page's title; none: made from the model and the languages."""


class Recipe(Settings):
    """All settings of a run."""

    name: Annotated[str, Field(pattern=NAME)]
    """Name of the recipe; by default the name of its file."""
    description: Annotated[str, Field(pattern=LINE)] = ""
    """One line for `glossae recipes`."""
    model: Text
    """A model on the hub (`ID` or `ID@REVISION`), a folder, a GGUF file, or toy."""
    site: Literal["mlp.hidden", "mlp.out", "attn.out", "resid"] = "mlp.hidden"
    """The place in a layer: input of the MLP's output projection, output of MLP or attention, or residual stream."""
    layer: Whole | Literal["auto"] = "auto"
    """The layer, counted from 0; auto: where probes tell the target best from the nearest language of the panel
    (without a third language, and by the paper: from the reference)."""
    protocol: Literal["controlled", "published", "as_coded"] = "controlled"
    """The paper's experiments without their known flaws (controlled), as its text has them (published), or as published
    and beside it as its code does (as_coded). The report has a section on the differences."""
    seed: Seed = 0
    """Seed of all random numbers."""
    device: Annotated[str, Field(pattern=DEVICE)] = "auto"
    """Device: cpu, cuda or cuda:N; auto: a GPU if there is one; split: all GPUs share the model (needs accelerate)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Model precision; auto: bfloat16 on a GPU, or on a CPU fast in it if the loss stays the same; else float32."""
    bos: bool | Literal["auto"] = "auto"
    """Put the model's beginning-of-text token before each sentence; auto: if the model's tokenizer does so itself."""
    chat: bool = False
    """Read each sentence as the reply in a chat, and each prompt as the user's turn, with the tokenizer's template."""
    max_tokens: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Longer texts are cut to this many tokens, and counted; auto: 256, or the model's positions if fewer."""
    batch_tokens: Count = 1024
    """Tokens that the language model reads at a time."""
    languages: Languages = Languages()
    corpora: Corpora
    probe: Probe = Probe()
    grid: Grid = Grid()
    sae: SaeSettings
    evidence: Evidence = Evidence()
    features: Features = Features()
    dashboards: Dashboards = Dashboards()
    baselines: Baselines = Baselines()
    effects: Effects = Effects()
    steering: Steering = Steering()
    tasks: Tasks = Tasks()
    report: Report = Report()

    @property
    def by_the_paper(self) -> bool:
        """Whether probes and autoencoders follow the paper's text, and its code where the text is silent."""
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
        """How tasks are read; in an as_coded recipe the paper's way is never left out."""
        controlled = self.tasks.protocol == "controlled"
        return "both" if self.protocol == "as_coded" and controlled else self.tasks.protocol

    def problems(self) -> Problems:
        """Settings of several groups fit together."""
        if self.chat and self.by_the_paper:
            yield "chat", f"the paper reads no chats: leave it off, or protocol {self.protocol}"
        if self.chat and self.bos != "auto":
            yield "bos", "has to be auto with chat: the chat template writes its own BOS"
        other = self.grid.model not in (None, self.model)
        if self.grid.wanted and other and self.grid.layer is None and self.layer == "auto":
            models = f"the probes choose a layer of {self.model}, not of {self.grid.model}"
            yield "grid.model", f"needs grid.layer beside it: {models}"
        if self.effects.controls and not self.effects.sweep:
            yield "effects.controls", "needs effects.sweep: controls are compared with what it measures"
        trained = {
            "baselines.trained": self.baselines.trained,
            "baselines.frozen": self.baselines.frozen,
            "evidence.seeds": self.evidence.seeds,
        }
        for key, number in trained.items():
            if number and self.sae.from_ is not None:
                yield key, "needs an autoencoder that is trained here: sae.from gives one, so set it to 0"

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested dictionaries of lists and scalars, as JSON and YAML have them."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """The recipe as YAML; `load_recipe` reads it back equal."""
        return yaml_text.write(self.to_dict())
