"""The sparse autoencoder itself, and its file."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sprog.errors import SprogError
from sprog.files import replacing, write_json
from sprog.sae.sparse import SparseDecode, TopKEncode

FORMAT_VERSION = 1


@dataclass(frozen=True)
class SaeConfig:
    """What an autoencoder is and where it belongs.

    Attributes:
        d_in: width of the site.
        latents: how many latents.
        k: how many are selected at a token.
        relu: whether selected values below zero become zero. Without it a latent fires when it is
            selected, as in the paper's code; with it, when it is selected and above zero.
        model, site, layer: what it was trained on.
        activation: what selects.
    """

    d_in: int
    latents: int
    k: int
    relu: bool = True
    model: str = ""
    site: str = ""
    layer: int = 0
    activation: str = "topk"

    def __post_init__(self) -> None:
        if self.activation != "topk":
            raise SprogError(f"sae.activation: '{self.activation}' is not known; it is topk")
        if not 1 <= self.k <= self.latents:
            raise SprogError(f"sae.k: has to be between 1 and the {self.latents} latents, got {self.k}")


class Codes(NamedTuple):
    """Sparse activations: the values of the selected latents and which they are, in no set order."""

    values: Float[Tensor, "tokens k"]
    indices: Int[Tensor, "tokens k"]


class Sae(nn.Module):
    """A TopK sparse autoencoder (Gao et al. 2024, eq. 1-2; the paper's section 4.2).

        values, indices = topk(W_enc (x - b_pre) + b_enc),    x_hat = W_dec' z + b_pre

    `W_enc` and `W_dec` are separate and both latent-major, `(latents, d_in)`: row i of `W_dec` is the
    direction that latent i writes, row i of `W_enc` the one it reads.
    """

    def __init__(self, config: SaeConfig) -> None:
        super().__init__()
        self.config = config
        shape = (config.latents, config.d_in)
        self.W_enc = nn.Parameter(torch.zeros(shape))
        self.W_dec = nn.Parameter(torch.zeros(shape))
        self.b_enc = nn.Parameter(torch.zeros(config.latents))
        self.b_pre = nn.Parameter(torch.zeros(config.d_in))

    def pre_activations(
        self, x: Float[Tensor, "tokens d_in"], latents: Int[Tensor, " some"] | None = None
    ) -> Float[Tensor, "tokens _"]:
        """What each latent (or each of `latents`) is before selection."""
        weight, bias = (
            (self.W_enc, self.b_enc) if latents is None else (self.W_enc[latents], self.b_enc[latents])
        )
        return torch.nn.functional.linear(x - self.b_pre, weight, bias)

    def encode(self, x: Float[Tensor, "tokens d_in"]) -> Codes:
        """Select the k largest pre-activations of each token."""
        values, indices = TopKEncode.apply(x - self.b_pre, self.W_enc, self.b_enc, self.config.k)  # type: ignore[no-untyped-call]
        return Codes(values.relu() if self.config.relu else values, indices)

    def decode(self, codes: Codes) -> Float[Tensor, "tokens d_in"]:
        """The reconstruction from a code."""
        decoded: Tensor = SparseDecode.apply(codes.values, codes.indices, self.W_dec)  # type: ignore[no-untyped-call]
        return decoded + self.b_pre

    def forward(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
        """The reconstruction of x."""
        return self.decode(self.encode(x))

    def fires(self, codes: Codes) -> Bool[Tensor, "tokens k"]:
        """Which selected latents fire: those above zero, or all where there is no ReLU."""
        return codes.values > 0 if self.config.relu else torch.ones_like(codes.values, dtype=torch.bool)

    def save(self, folder: Path) -> None:
        """Write `sae.safetensors` and `cfg.json` into a folder."""
        from safetensors.torch import save_file

        with replacing(folder / "sae.safetensors") as temporary:
            save_file(
                {name: t.detach().contiguous().cpu() for name, t in self.state_dict().items()}, temporary
            )
        write_json(folder / "cfg.json", {"format": FORMAT_VERSION, **dataclasses.asdict(self.config)})

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str = "cpu") -> "Sae":
        """Read what `save` wrote.

        Raises:
            SprogError: a file is missing or broken, a key is unknown, or tensors do not fit the config.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        config = _read_config(folder / "cfg.json")
        weights = folder / "sae.safetensors"
        try:
            tensors = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise SprogError(f"{weights}: cannot be read as safetensors ({error})") from error
        sae = cls(config)
        for name, own in sae.state_dict().items():
            if name not in tensors or tensors[name].shape != own.shape:
                found = tuple(tensors[name].shape) if name in tensors else "missing"
                raise SprogError(f"{weights}: {name} should be {tuple(own.shape)} and is {found}")
        unknown = sorted(set(tensors) - set(sae.state_dict()))
        if unknown:
            raise SprogError(f"{weights}: holds a tensor '{unknown[0]}' that this autoencoder does not have")
        sae.load_state_dict(tensors)
        return sae.to(device)


def _read_config(path: Path) -> SaeConfig:
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SprogError(f"{path}: cannot be read as JSON ({error})") from error
    version = settings.pop("format", None) if isinstance(settings, dict) else None
    if version != FORMAT_VERSION:
        raise SprogError(f"{path}: is not a sprog autoencoder of format {FORMAT_VERSION}")
    known = {field.name for field in dataclasses.fields(SaeConfig)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise SprogError(f"{path}: the key '{unknown[0]}' is not known, so what it changes is not either")
    try:
        return SaeConfig(**settings)
    except TypeError as error:
        raise SprogError(f"{path}: {error}") from error
