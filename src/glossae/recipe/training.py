"""What is fitted: probes, a grid of autoencoders, the autoencoder."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from glossae.recipe.fitting import Above, AtLeast, Distinct, NotEmpty
from glossae.recipe.group import Settings
from glossae.recipe.kinds import Count, Fraction, Text

# the paper's grid has autoencoders of four times its site's width
GRID_EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class Probe(Settings):
    """The probes that find the layer where the languages part."""

    group: ClassVar[str] = "probe"

    models: Annotated[tuple[Text, ...], Distinct()] = ()
    """The models to probe; none: the run's own."""
    lambdas: Annotated[tuple[Annotated[float, Above(0)], ...], NotEmpty(), Distinct()] = tuple(
        0.1 * 300 ** (step / 9) for step in range(10)
    )
    """Strengths of the penalty."""
    seeds: Count = 3
    """Samples and splits, for standard errors."""
    tokens: Annotated[int, AtLeast(100)] = 40_000
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

    k: Annotated[tuple[Count, ...], Distinct()] = ()
    """Latents active at a token, for topk: an autoencoder of each, with every tied and pre_encoder_bias."""
    l1: Annotated[tuple[Annotated[float, Above(0)], ...], Distinct()] = ()
    """Weights of the L1 penalty, for relu: likewise."""
    tied: Annotated[tuple[bool, ...], NotEmpty(), Distinct()] = (False, True)
    """Whether the encoder's matrix is the decoder's."""
    pre_encoder_bias: Annotated[tuple[bool, ...], NotEmpty(), Distinct()] = (True, False)
    """Whether a bias is taken off before encoding and added again after decoding."""
    expansion: Count | None = None
    """Latents per dimension of the site; none: four, or grid.latents. The rest of the training is as sae.* says."""
    latents: Count | None = None
    """Latents in all; takes the place of grid.expansion."""
    model: Text | None = None
    """The model whose activations they are trained on; none: the run's own."""
    layer: Annotated[int, AtLeast(0)] | None = None
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
    l1: Annotated[float, Above(0)] | None = None
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
    matryoshka: Annotated[tuple[Count, ...], Distinct()] = ()
    """Sizes of nested dictionaries that are each to reconstruct by themselves, besides the whole; none: no such."""
    lr: Annotated[float, Above(0)] | None = None
    """Learning rate; none: by the law for the number of latents."""
    epochs: Count = 1
    """Passes over the text."""
    batch_tokens: Count = 1024
    """Tokens a step."""
    batch_sentences: Count | None = None
    """Sentences a step, as in the paper; used instead of sae.batch_tokens when given."""
    aux_k: Annotated[int, AtLeast(0)] | Literal["auto"] = "auto"
    """Dead latents that learn from the error at each token; 0: none do, auto: half the site's width."""
    warmup: Fraction = 0.05
    """Share of the steps in which the learning rate rises."""
    decay: Fraction = 0.2
    """Share of the steps, at the end, in which it falls to zero."""
    encoder_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's product in training; auto: bfloat16 where the device is built for it."""
    precision: Annotated[float, Above(0)] = 0.02
    """Losses with the autoencoder spliced in are measured on ever more sentences, until half the 95 % interval of their
    change is at most this, nats a token, or a tenth of it (published, as_coded: on all of select)."""
    checkpoint: Annotated[float, AtLeast(0)] | None = 3.0
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
