"""The sparse autoencoder: configuration, encoding and decoding, and measured fidelity."""

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glossae import meter
from glossae.errors import GlossaeError
from glossae.files import path_given
from glossae.results import Fidelity
from glossae.sae.sparse import SparseDecode, TopKEncode, blocks, elsewhere, rows_on

ACTIVATIONS: tuple[str, ...] = get_args(Literal["topk", "batchtopk", "relu", "jumprelu"])

# bounds of a sound SAE: the excess of the spliced loss over the model's own in nats per token, the least share
# of loss recovered, and the largest share of dead latents
LOSS_BOUND, RECOVERED_BOUND, DEAD_BOUND = 0.35, 0.9, 0.15
# as many firings of the mean living latent leave one of a hundredth of its density a chance of 5 % to be missed:
# on fewer tokens a latent that does not fire is not known to be dead (measured on tiny-da-en, 1,024 latents and k 32:
# 21 % of them fired on none of 2,669 tokens, 15 % of 8,501, 7 % of 128,946)
ENOUGH_FIRINGS = 300
# the largest share of the site's variance along one direction, and in the largest 1 % of tokens: beyond them
# an FVU mostly describes that direction, or those tokens
DIRECTION_BOUND, TOKENS_BOUND = 0.5, 0.2
LARGEST = 0.01


class UnsoundWarning(UserWarning):
    """The warning of `Sae.load` for an SAE whose measured fidelity is beyond a bound of `Sae.unsound`."""


@dataclass(frozen=True)
class SaeConfig:
    """The architecture of an SAE, and the model and site that it was trained on.

    Attributes:
        d_in: width of the site.
        latents: number of latents.
        k: topk: latents selected per token; batchtopk and jumprelu: the training target for the average per
            token; None: no target (relu, or an SAE of another library).
        relu: topk only: whether selected values below zero become zero. Without it, a latent fires when it is
            selected, as in the paper's code; with it, when it is selected and above zero.
        activation: the selection of latents. `topk`: the k largest (Gao et al. 2024). `batchtopk`: in training
            the k n largest of n tokens, afterwards all above one learnt threshold (Bussmann et al. 2024).
            `relu`: all above zero.
            `jumprelu`: all above their own thresholds (Rajamanoharan et al. 2024).
        tied: whether the encoder's matrix is the decoder's.
        pre_encoder_bias: whether `b_dec` is subtracted before encoding as well as added after decoding.
        matryoshka: ascending sizes of nested dictionaries, the last one all latents; each was trained to
            reconstruct alone (Bussmann et al. 2025). Empty: one dictionary.
        model, site, layer: the place that it was trained on.

    Raises:
        GlossaeError: the activation is unknown, or `k` or `matryoshka` is impossible.
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
        """Whether a latent can fire with a value below zero: only top-k without a ReLU."""
        return self.activation == "topk" and not self.relu


class Quality(Fidelity):
    """Fidelity on a corpus."""

    judged: tuple[str, ...] = ()
    """The languages whose losses `Sae.unsound` looks at: those that the SAE was trained on."""


class Codes(NamedTuple):
    """Sparse activations: the values of selected latents and their numbers, in no set order.

    With top-k every token has k. With a threshold the number differs between tokens: there are as many columns
    as the token with the most latents needs, padded with latent 0 at the value 0, which does not fire.
    """

    values: Float[Tensor, "*tokens k"]
    indices: Int[Tensor, "*tokens k"]


class Sae(nn.Module):
    """A sparse autoencoder (the paper's section 4.2; Bricken et al. 2023; Gao et al. 2024, eq. 1-2).

        z = phi(W_enc (x - b_dec) + b_enc),    x_hat = W_dec' z + b_dec

    `phi` is the config's activation; without a pre-encoder bias the encoder reads x itself. `W_enc` and
    `W_dec` are both latent-major, `(latents, d_in)`: latent i reads along row i of `W_enc` and writes row i of
    `W_dec`; tied, they are one parameter. `threshold` is `(latents,)` for jumprelu, `()` for batchtopk, and
    None otherwise. Inputs may lie on another device, to which rows are then copied as they are needed: see
    `glossae.sae.placed`. `quality` is the measured fidelity (None: not measured), `trained_on` describes the
    training text (empty: unknown). `levels` are the ends of its nested dictionaries among its own rows.
    """

    threshold: Tensor | None
    quality: Quality | None = None
    trained_on: str = ""

    def __init__(self, config: SaeConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = config.matryoshka or (config.latents,)
        shape = (config.latents, config.d_in)
        self.W_enc = nn.Parameter(torch.zeros(shape))
        self.W_dec = self.W_enc if config.tied else nn.Parameter(torch.zeros(shape))
        self.b_enc = nn.Parameter(torch.zeros(config.latents))
        self.b_dec = nn.Parameter(torch.zeros(config.d_in))
        of_threshold = {"jumprelu": (config.latents,), "batchtopk": ()}.get(config.activation)
        self.register_buffer("threshold", None if of_threshold is None else torch.zeros(of_threshold))

    @classmethod
    def of(cls, config: SaeConfig, tensors: Mapping[str, Tensor]) -> "Sae":
        """The SAE that holds these tensors, without copies; of a tied one without `W_dec`."""
        with torch.device("meta"):
            sae = cls(config)
        sae.load_state_dict({"W_dec": tensors["W_enc"], **tensors} if config.tied else tensors, assign=True)
        if config.tied:
            # of one tensor, `load_state_dict` makes two parameters
            sae.W_dec = sae.W_enc
        return sae.requires_grad_(False)

    def centred(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_in"]:
        """The encoder's input for x: x less the pre-encoder bias, if there is one."""
        # a double, or a model's half, is read in the weights' own precision
        x = x.to(self.b_dec.dtype)
        return x - self.b_dec.to(x.device) if self.config.pre_encoder_bias else x

    def pre_activations(
        self, x: Float[Tensor, "*tokens d_in"], latents: Int[Tensor, " some"] | None = None
    ) -> Float[Tensor, "*tokens _"]:
        """The values of all latents (or of `latents`) before selection."""
        if latents is None and elsewhere(self.W_enc, x):
            return self._block_by_block(x)
        some = slice(None) if latents is None else latents
        weight, bias = (rows_on(each, some, x.device) for each in (self.W_enc, self.b_enc))
        meter.count(sae_flops=2.0 * x.numel() * len(bias))
        return nn.functional.linear(self.centred(x), weight, bias)

    def _block_by_block(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens latents"]:
        """The values of all latents, to whose device the weights come in blocks."""
        flat = self.centred(x).reshape(-1, self.config.d_in)
        meter.count(sae_flops=2.0 * flat.numel() * len(self.W_enc))
        parts = [
            torch.cat([pre for _, pre in of_latents], dim=1)
            for _, of_latents in blocks(flat, self.W_enc, self.b_enc)
        ]
        found = torch.cat(parts) if parts else flat.new_zeros(0, len(self.W_enc))
        return found.reshape(*x.shape[:-1], len(self.W_enc))

    def encode(self, x: Float[Tensor, "*tokens d_in"]) -> Codes:
        """Select latents, for inputs of any leading shape."""
        flat = self.centred(x).reshape(-1, self.config.d_in)
        meter.count(sae_flops=2.0 * flat.numel() * len(self.W_enc))
        if self.config.activation == "topk":
            values, indices = TopKEncode.apply(flat, self.W_enc, self.b_enc, self.config.k)  # type: ignore[no-untyped-call]
            values = values.relu() if self.config.relu else values
        else:
            values, indices = self._above_threshold(flat)
        shape = (*x.shape[:-1], values.shape[1])
        return Codes(values.reshape(shape), indices.reshape(shape))

    def _above_threshold(
        self, x: Float[Tensor, "tokens d_in"]
    ) -> tuple[Float[Tensor, "tokens width"], Int[Tensor, "tokens width"]]:
        """The latents above zero and their threshold, with as many columns as the token with the most latents."""
        parts = []
        for _, of_latents in blocks(x, self.W_enc, self.b_enc):
            found = [self._passing(latents, pre) for latents, pre in of_latents]
            values, indices = found[0]
            if len(found) > 1:
                values, place = _positive(torch.cat([own for own, _ in found], dim=1))
                indices = torch.cat([own for _, own in found], dim=1).gather(1, place)
            # padded with latent 0 at the value 0
            parts.append((values, torch.where(values > 0, indices, 0)))
        if not parts:
            return x.new_zeros(0, 1), torch.zeros(0, 1, dtype=torch.int64, device=x.device)
        width = max(values.shape[1] for values, _ in parts)
        padded = [[nn.functional.pad(t, (0, width - t.shape[1])) for t in part] for part in parts]
        return torch.cat([values for values, _ in padded]), torch.cat([indices for _, indices in padded])

    def _passing(
        self, latents: slice, pre: Float[Tensor, "tokens block"]
    ) -> tuple[Float[Tensor, "tokens width"], Int[Tensor, "tokens width"]]:
        """Of a block of latents, the values above zero and their threshold, padded with the value 0."""
        edge: float | Tensor = 0.0
        if self.threshold is not None:
            own = self.threshold[latents] if self.threshold.ndim else self.threshold
            edge = own.to(pre.device).clamp_min(0)
        values, indices = _positive(torch.where(pre > edge, pre, 0))
        return values, indices + latents.start

    def decode(self, codes: Codes) -> Float[Tensor, "*tokens d_in"]:
        """The reconstruction from a code."""
        width = codes.indices.shape[-1]
        meter.count(sae_flops=2.0 * codes.indices.numel() * self.config.d_in)
        decoded: Tensor = SparseDecode.apply(  # type: ignore[no-untyped-call]
            codes.values.reshape(-1, width), codes.indices.reshape(-1, width), self.W_dec
        )
        return decoded.reshape(*codes.indices.shape[:-1], self.config.d_in) + self.b_dec.to(decoded.device)

    def forward(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_in"]:
        """The reconstruction of x."""
        return self.decode(self.encode(x))

    def fires(self, codes: Codes) -> Bool[Tensor, "*tokens k"]:
        """Which latents of a code fire: those above zero, or all selected ones without a ReLU."""
        return torch.ones_like(codes.values, dtype=torch.bool) if self.config.negative else codes.values > 0

    @property
    def unsound(self) -> tuple[str, ...]:
        """One sentence for each bound that it exceeds, with the number and the bound; empty if sound or not measured.

        The bounds: in a language of `quality.judged`, an FVU of 1, a spliced loss 0.35 nats per token above
        the model's own, or less than 90 % of the loss recovered; 15 % of latents dead, if there were enough tokens
        for the others to fire 300 times each on average; 50 % of the variance along one direction; 20 % of it in
        1 % of tokens.
        """
        return () if self.quality is None else tuple(_findings(self.quality, self.config.latents))

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, on the CPU; a tied SAE has `W_enc` and no `W_dec`."""
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        if self.config.tied:
            del tensors["W_dec"]
        return tensors

    def extra_repr(self) -> str:
        """What `repr` shows: the site, the layer and the size."""
        config = self.config
        place = f"{config.site} of layer {config.layer}, " if config.site else ""
        return f"{place}{config.latents} latents, {config.activation}, k {config.k}"

    def save(self, folder: Path | str) -> None:
        """Write `sae.safetensors` into a folder, with all that is known of the SAE in its header.

        Raises:
            GlossaeError: the file cannot be written, or is there already and is no autoencoder of glossae.
        """
        from glossae.sae.formats import own

        own.save(self, path_given(folder, "folder"))

    @classmethod
    def load(cls, place: Path | str, device: torch.device | str = "cpu") -> "Sae":
        """Read an SAE from a folder or file of any supported library, or from a run's folder.

        `hub:OWNER/NAME[@REVISION][/FOLDER][/FILE]` fetches it first. Warns with `UnsoundWarning` if its measured
        fidelity is beyond a bound. On a CPU, float32 tensors of a safetensors file map it, and processes share its
        pages: the file may be deleted or replaced meanwhile, and must not be written in place.

        Raises:
            GlossaeError: the format is unknown, a file is missing or broken, a key is unknown, or tensors do
                not fit the config.
        """
        from glossae.sae.formats.locating import SCHEME, fetch, load

        path = path_given(place, "sae")
        sae = load(fetch(str(place)).place if str(place).startswith(SCHEME) else path).to(device)
        return sae._warned(place)

    @classmethod
    def from_pretrained(
        cls,
        name: Path | str,
        *,
        revision: str | None = None,
        subfolder: str = "",
        device: torch.device | str = "cpu",
    ) -> "Sae":
        """Read an SAE of a repository on the hub, of any supported library, or of a local folder.

        Args:
            name: `OWNER/NAME`, or a folder that is here.
            revision: a branch, tag or commit.
            subfolder: the folder or file in the repository, if it has several SAEs.
            device: where its tensors go.

        Raises:
            GlossaeError: as `load`, or the hub or the network refuses.
        """
        from glossae.sae.formats.locating import load
        from glossae.sae.formats.sharing import locate

        return load(locate(name, revision, subfolder)).to(device)._warned(name)

    def save_pretrained(self, folder: Path | str) -> None:
        """Write what `push_to_hub` pushes into a folder: SAELens' layout, a file with the rest, and a card.

        Raises:
            GlossaeError: a file cannot be written, or one of that name is there that glossae did not write.
        """
        place = path_given(folder, "folder")
        self._share(place, place.name)

    def push_to_hub(self, name: str, *, revision: str | None = None, private: bool = False) -> str:
        """Push the SAE with a card in one commit, and return the address of the commit.

        Args:
            name: `OWNER/NAME`; it is made if need be.
            revision: a branch that exists; None for the main one.
            private: make a new repository private.

        Raises:
            GlossaeError: as `glossae.hub.push`.
        """
        from glossae.hub import Repository, push
        from glossae.sae.card import MARK

        repository = Repository.named(name, revision)
        with tempfile.TemporaryDirectory() as place:
            files = self._share(Path(place), repository.name)
            return push(
                repository, files, message="Push an autoencoder by glossae", mark=MARK, private=private
            )

    def _share(self, root: Path, name: str) -> dict[str, Path]:
        """Write the shared files below `root`; returns them by their path in the repository `name`."""
        from glossae.files import write_text
        from glossae.sae.card import CARD, sae_card
        from glossae.sae.formats.sharing import snippets, write
        from glossae.sae.formats.writing import check_card

        check_card(root / CARD)
        folder = write(self, root)
        rest = ["## Load it", "", *snippets(self, name, folder)]
        write_text(root / CARD, sae_card(self, title="A sparse autoencoder", rest=rest))
        files = [root / CARD, *sorted((root / folder).iterdir())]
        return {file.relative_to(root).as_posix(): file for file in files}

    def _warned(self, place: Path | str) -> "Sae":
        if self.unsound:
            warnings.warn(f"{place}: {' '.join(self.unsound)}", UnsoundWarning, stacklevel=3)
        return self


def _positive(
    values: Float[Tensor, "tokens some"],
) -> tuple[Float[Tensor, "tokens width"], Int[Tensor, "tokens width"]]:
    """The values above zero of every row and their places, with as many columns as the row with the most."""
    return values.topk(max(1, int((values > 0).sum(1).max())), dim=1, sorted=False)


def _findings(quality: Quality, latents: int) -> Iterator[str]:
    for language in quality.judged:
        fvu, ce = quality.fvu.get(language, 0.0), quality.ce.get(language)
        if fvu >= 1:
            yield (
                f"The reconstruction is no nearer to the activations in {language} than their mean: its FVU is "
                f"{fvu:.2f}, and the bound is 1."
            )
        if ce is not None and ce.spliced - ce.raw > LOSS_BOUND:
            yield (
                f"The loss in {language} is {ce.spliced - ce.raw:.3f} nats a token higher with the reconstruction in "
                f"the site's place; the bound is {LOSS_BOUND:g}."
            )
        if ce is not None and ce.recovered is not None and ce.recovered < RECOVERED_BOUND:
            yield (
                f"The reconstruction recovers {_percent(ce.recovered)} of the loss in {language}; the bound is at "
                f"least {_percent(RECOVERED_BOUND)}."
            )
    living = latents * (1 - quality.dead_fraction)
    if quality.dead_fraction > DEAD_BOUND and quality.tokens * quality.l0 >= ENOUGH_FIRINGS * living:
        yield (
            f"{_percent(quality.dead_fraction)} of the latents are dead: they fire on none of {quality.tokens:,} "
            f"tokens; the bound is {_percent(DEAD_BOUND)}."
        )
    if quality.top_direction > DIRECTION_BOUND:
        yield (
            f"One direction carries {_percent(quality.top_direction)} of the variance at the site, so the FVU says "
            f"little of the others; the bound is {_percent(DIRECTION_BOUND)}."
        )
    if quality.top_tokens > TOKENS_BOUND:
        yield (
            f"{_percent(LARGEST)} of the tokens carry {_percent(quality.top_tokens)} of the variance at the site, so "
            f"the FVU says little of the others; the bound is {_percent(TOKENS_BOUND)}."
        )


def _percent(share: float) -> str:
    # four digits, so that a value beyond a bound does not look equal to it
    return f"{100 * share:.4g} %"
