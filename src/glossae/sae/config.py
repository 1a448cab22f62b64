"""What an autoencoder is: its shape, what selects its latents, and where it belongs."""

from dataclasses import dataclass
from typing import Literal, get_args

from glossae.errors import GlossaeError

Activation = Literal["topk", "batchtopk", "relu", "jumprelu"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)


@dataclass(frozen=True)
class SaeConfig:
    """What an autoencoder is and where it belongs.

    Attributes:
        d_in: width of the site.
        latents: how many latents.
        k: topk: how many are selected at a token; batchtopk and jumprelu: how many at a token on average were
            aimed at in training; None where nothing was (relu, or an autoencoder from elsewhere).
        relu: topk only: whether selected values below zero become zero. Without it a latent fires when it is
            selected, as in the paper's code; with it, when it is selected and above zero.
        activation: what selects. `topk`: the k largest (Gao et al. 2024). `batchtopk`: in training the k n largest
            of n tokens, afterwards all above one threshold learnt meanwhile (Bussmann et al. 2024). `relu`: all
            above zero. `jumprelu`: all above their own thresholds (Rajamanoharan et al. 2024).
        tied: whether the encoder's matrix is the decoder's.
        pre_encoder_bias: whether `b_dec` is taken off before encoding as well as added after decoding.
        matryoshka: sizes of the nested dictionaries, rising, the last one all latents; each was trained to
            reconstruct by itself (Bussmann et al. 2025). Empty: one dictionary.
        model, site, layer: what it was trained on.
    """

    d_in: int
    latents: int
    k: int | None = None
    relu: bool = True
    model: str = ""
    site: str = ""
    layer: int = 0
    activation: str = "topk"
    tied: bool = False
    pre_encoder_bias: bool = True
    matryoshka: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise GlossaeError(
                f"sae.activation: '{self.activation}' is not known; there are {', '.join(ACTIVATIONS)}"
            )
        if self.k is None and self.activation == "topk":
            raise GlossaeError("sae.k: topk needs one")
        if self.k is not None and not 1 <= self.k <= self.latents:
            raise GlossaeError(f"sae.k: has to be between 1 and the {self.latents} latents, got {self.k}")
        sizes = self.matryoshka
        if sizes and (sizes[0] < 1 or sizes[-1] != self.latents or list(sizes) != sorted(set(sizes))):
            raise GlossaeError(
                f"sae.matryoshka: sizes have to rise and end at the {self.latents} latents, got {sizes}"
            )

    @property
    def negative(self) -> bool:
        """Whether a latent can fire with a value below zero: top-k without a ReLU."""
        return self.activation == "topk" and not self.relu
