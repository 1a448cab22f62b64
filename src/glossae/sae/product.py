"""The encoders' product: the dense product of a training step, for one autoencoder or a whole group."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.sae.sae import Sae

# pre-activations made at once, on a GPU and on a CPU: there what is made of them should still find them in the cache
VALUES_AT_ONCE = (2**28, 2**21)

# columns that the biases take up where they are part of the product: it is fastest in steps of so many
ONES = 32

EncoderDtype = Literal["auto", "float32", "bfloat16"]


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices natively, and so several times as fast as float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # there is no public question for it yet; where the private one is gone, float32 is always right
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in asked)


def encoder_dtype(wanted: EncoderDtype, device: torch.device) -> torch.dtype:
    """The precision of the encoder's product: `auto` is bfloat16 where the device is built for it."""
    if wanted == "auto":
        return torch.bfloat16 if fast_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


class EncoderProduct:
    """Pre-activations of a batch for every autoencoder of a group, as few matrix products as are fast.

    The encoders' rows are made to lie one after the other in one matrix, of which each autoencoder keeps its part,
    so that training them trains it. In bfloat16 the weights themselves stay float32, and a copy is made anew for
    every product.
    """

    def __init__(self, saes: Sequence[Sae], dtype: torch.dtype) -> None:
        self.saes = list(saes)
        self.dtype = dtype
        sizes = [sae.config.latents for sae in self.saes]
        if len(self.saes) == 1:
            self._weight = self.saes[0].W_enc.data
        else:
            self._weight = torch.cat([sae.W_enc.data for sae in self.saes])
            for sae, rows in zip(self.saes, self._weight.split(sizes), strict=True):
                sae.W_enc.data = rows
        self._copy = None
        if dtype != torch.float32:
            # on a CPU the biases are one more column, of an input that is always 1: adding them to the product costs
            # almost as much as the product
            width = self._weight.shape[1] + (ONES if self._weight.device.type == "cpu" else 0)
            self._copy = self._weight.new_zeros(len(self._weight), width, dtype=dtype)

    def offset(self, mean: Float[Tensor, " d_in"]) -> Float[Tensor, " d_in"]:
        """What to take off the inputs: a lone autoencoder's own pre-encoder bias, for a group about their mean.

        A low precision would else be spent on the mean, and a group shares its inputs.
        """
        (first, *others) = self.saes
        return first.b_dec.detach() if not others and first.config.pre_encoder_bias else mean

    @torch.no_grad()
    def __call__(
        self, centred: Float[Tensor, "tokens d_in"], offset: Float[Tensor, " d_in"]
    ) -> Iterator[Float[Tensor, "tokens latents"]]:
        """Pre-activations, one matrix for each autoencoder, computed when they are asked for.

        Args:
            centred: a batch, less the offset.
            offset: what was taken off; any vector gives the same, apart from rounding.
        """
        d_in = centred.shape[1]
        weight, inputs = self._weight, centred
        if self._copy is not None:
            self._copy[:, :d_in].copy_(self._weight)
            weight = self._copy
            inputs = centred.new_zeros(len(centred), weight.shape[1], dtype=self.dtype)
            inputs[:, :d_in].copy_(centred)
            inputs[:, d_in : d_in + 1] = 1.0
        most = VALUES_AT_ONCE[centred.device.type == "cpu"] // max(1, len(centred))
        row = 0
        for some in _runs(self.saes, most):
            sizes = [sae.config.latents for sae in some]
            rows = weight[row : row + sum(sizes)]
            row += sum(sizes)
            bias = torch.cat([_bias_around(sae, offset) for sae in some])
            if weight.shape[1] > d_in:
                rows[:, d_in] = bias
                pre = torch.mm(inputs, rows.T)
            else:
                pre = torch.nn.functional.linear(inputs, rows, bias.to(self.dtype))
            yield from pre.split(sizes, dim=1)


def _runs(saes: Sequence[Sae], most: int) -> Iterator[list[Sae]]:
    """Autoencoders one after the other, so many at a time that they have at most `most` latents together, or one."""
    run: list[Sae] = []
    for sae in saes:
        if run and sum(other.config.latents for other in run) + sae.config.latents > most:
            yield run
            run = []
        run.append(sae)
    yield run


def _bias_around(sae: Sae, offset: Float[Tensor, " d_in"]) -> Float[Tensor, " latents"]:
    """The bias that makes `W_enc (x - offset) + bias` the autoencoder's pre-activation."""
    if sae.config.pre_encoder_bias and offset.data_ptr() == sae.b_dec.data_ptr():
        return sae.b_enc.detach()
    moved = offset - sae.b_dec if sae.config.pre_encoder_bias else offset
    return torch.addmv(sae.b_enc, sae.W_enc, moved)
