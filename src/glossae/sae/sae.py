"""The sparse autoencoder itself."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glossae.sae.config import SaeConfig
from glossae.sae.sparse import SparseDecode, TopKEncode, slabs

if TYPE_CHECKING:
    from glossae.sae.quality import Quality


class UnsoundWarning(UserWarning):
    """Told when an autoencoder is loaded whose measured fidelity is beyond the bounds of `glossae.sae.unsound`."""


class Codes(NamedTuple):
    """Sparse activations: the values of selected latents and which they are, in no set order.

    With top-k there are k at every token. With a threshold their number differs from token to token: there are
    as many columns as the fullest token needs, and the rest is latent 0 with the value 0, which does not fire.
    """

    values: Float[Tensor, "*tokens k"]
    indices: Int[Tensor, "*tokens k"]


class Sae(nn.Module):
    """A sparse autoencoder (the paper's section 4.2; Bricken et al. 2023; Gao et al. 2024, eq. 1-2).

        z = phi(W_enc (x - b_dec) + b_enc),    x_hat = W_dec' z + b_dec

    `phi` is the config's activation; without a pre-encoder bias the encoder reads x itself. `W_enc` and `W_dec`
    are both latent-major, `(latents, d_in)`: row i of `W_dec` is the direction that latent i writes, row i of
    `W_enc` the one it reads; tied, they are one parameter. `threshold` is `(latents,)` for jumprelu, `()` for
    batchtopk, and not there otherwise. Its own files keep `quality`, its measured fidelity (None: it was not
    measured), and `trained_on`, the text that it was trained on, in words (empty: not known).
    """

    threshold: Tensor | None
    quality: "Quality | None" = None
    trained_on: str = ""

    def __init__(self, config: SaeConfig) -> None:
        super().__init__()
        self.config = config
        shape = (config.latents, config.d_in)
        self.W_enc = nn.Parameter(torch.zeros(shape))
        self.W_dec = self.W_enc if config.tied else nn.Parameter(torch.zeros(shape))
        self.b_enc = nn.Parameter(torch.zeros(config.latents))
        self.b_dec = nn.Parameter(torch.zeros(config.d_in))
        of_threshold = {"jumprelu": (config.latents,), "batchtopk": ()}.get(config.activation)
        self.register_buffer("threshold", None if of_threshold is None else torch.zeros(of_threshold))

    def centred(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_in"]:
        """What the encoder reads of x."""
        return x - self.b_dec if self.config.pre_encoder_bias else x

    def pre_activations(
        self, x: Float[Tensor, "*tokens d_in"], latents: Int[Tensor, " some"] | None = None
    ) -> Float[Tensor, "*tokens _"]:
        """What each latent (or each of `latents`) is before selection."""
        weight, bias = (
            (self.W_enc, self.b_enc) if latents is None else (self.W_enc[latents], self.b_enc[latents])
        )
        return torch.nn.functional.linear(self.centred(x), weight, bias)

    def encode(self, x: Float[Tensor, "*tokens d_in"]) -> Codes:
        """Select latents, for inputs of any leading shape."""
        flat = self.centred(x).reshape(-1, self.config.d_in)
        if self.config.activation == "topk":
            assert self.config.k is not None
            values, indices = TopKEncode.apply(flat, self.W_enc, self.b_enc, self.config.k)  # type: ignore[no-untyped-call]
            values = values.relu() if self.config.relu else values
        else:
            values, indices = self._above_threshold(flat)
        return Codes(
            values.reshape(*x.shape[:-1], values.shape[1]), indices.reshape(*x.shape[:-1], values.shape[1])
        )

    def _above_threshold(
        self, x: Float[Tensor, "tokens d_in"]
    ) -> tuple[Float[Tensor, "tokens width"], Int[Tensor, "tokens width"]]:
        """The latents above zero and their threshold, as many columns as the fullest token has."""
        parts = []
        for rows in slabs(len(x), self.config.latents):
            pre = torch.nn.functional.linear(x[rows], self.W_enc, self.b_enc)
            above = pre > 0 if self.threshold is None else pre > self.threshold.clamp_min(0)
            width = max(1, int(above.sum(1).max()))
            # the largest among those above; a token with fewer is filled up with latent 0 at 0
            values, indices = torch.where(above, pre, 0).topk(width, dim=1, sorted=False)
            parts.append((values, torch.where(values > 0, indices, 0)))
        if not parts:
            return x.new_zeros(0, 1), torch.zeros(0, 1, dtype=torch.int64, device=x.device)
        width = max(values.shape[1] for values, _ in parts)
        padded = [[nn.functional.pad(t, (0, width - t.shape[1])) for t in part] for part in parts]
        return torch.cat([values for values, _ in padded]), torch.cat([indices for _, indices in padded])

    def decode(self, codes: Codes) -> Float[Tensor, "*tokens d_in"]:
        """The reconstruction from a code."""
        width = codes.indices.shape[-1]
        decoded: Tensor = SparseDecode.apply(  # type: ignore[no-untyped-call]
            codes.values.reshape(-1, width), codes.indices.reshape(-1, width), self.W_dec
        )
        return decoded.reshape(*codes.indices.shape[:-1], self.config.d_in) + self.b_dec

    def forward(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_in"]:
        """The reconstruction of x."""
        return self.decode(self.encode(x))

    def fires(self, codes: Codes) -> Bool[Tensor, "*tokens k"]:
        """Which latents of a code fire: those above zero, or all selected ones where there is no ReLU."""
        return torch.ones_like(codes.values, dtype=torch.bool) if self.config.negative else codes.values > 0

    @property
    def unsound(self) -> tuple[str, ...]:
        """What makes it unsound, a sentence each; nothing if it is sound, or was not measured."""
        from glossae.sae.quality import unsound

        return () if self.quality is None else unsound(self.quality)

    def save(self, folder: Path) -> None:
        """Write `sae.safetensors` and `cfg.json` into a folder."""
        from glossae.sae.formats.own import save

        save(self, folder)

    @classmethod
    def load(cls, place: Path | str, device: torch.device | str = "cpu") -> "Sae":
        """Read an autoencoder from a folder or file, whichever library wrote it; a run's folder will do.

        Of one that was measured and is unsound an `UnsoundWarning` says why.

        Raises:
            GlossaeError: it is of no known kind, a file is missing or broken, a key is unknown, or tensors do not
                fit the config.
        """
        from glossae.sae.formats.detect import load

        sae = load(Path(place)).to(device)
        if sae.unsound:
            warnings.warn(f"{place}: {' '.join(sae.unsound)}", UnsoundWarning, stacklevel=2)
        return sae
