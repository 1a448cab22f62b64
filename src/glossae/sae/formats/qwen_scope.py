"""Qwen-Scope's `layer{N}.sae.pt`: one pickled dict of four tensors for each layer of a Qwen 3 or Qwen 3.5 model.

Top-k of the residual stream behind a block, without a ReLU and without a pre-encoder bias: `f = topk(x @ W_enc.T +
b_enc)`, and `x_hat = f @ W_dec.T + b_dec` with `W_enc` `(latents, d_in)` and `W_dec` `(d_in, latents)` (the models'
cards; Qwen Team 2026, arXiv:2605.11887). The layer stands in the name of the file, the model and k in that of the
repository, `Qwen/SAE-Res-Qwen3-8B-Base-W64K-L0_50`.
"""

import re
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.sae.formats.tensors import Tensors, built, configured
from glossae.sae.sae import Sae

FILES = "layer*.sae.pt"
NAME = re.compile(r"layer(\d{1,5})\.sae\.pt")
REPOSITORY = re.compile(r"SAE-Res-(Qwen[\w.-]*?)-W\d+K-L0_(\d{1,6})(?![\w.-])")
# names of folders that may be the repository's; those around them are the user's own
FOLDERS = 4


def read(path: Path) -> Sae:
    """Read one layer's file; of a pickle, nothing but tensors is read.

    Raises:
        GlossaeError: the file is broken or holds other tensors, or neither its name nor those of the folders around it
            say the layer and k.
    """
    layer = NAME.fullmatch(path.name)
    repository = REPOSITORY.search("/".join(path.absolute().parent.parts[-FOLDERS:]))
    if layer is None or repository is None:
        raise GlossaeError(
            f"{path}: which model and k it belongs to is only in the name of its repository: keep it in a folder of "
            "that name, SAE-Res-MODEL-W..K-L0_K/layerN.sae.pt"
        )
    tensors = Tensors.unpickled(path)
    W_enc = tensors.take("W_enc", None, None)
    latents, d_in = W_enc.shape
    taken = {
        "W_enc": W_enc,
        "W_dec": tensors.take("W_dec", d_in, latents).T,
        "b_enc": tensors.take("b_enc", latents),
        "b_dec": tensors.take("b_dec", d_in),
    }
    tensors.done()
    config = configured(
        path,
        d_in=d_in,
        latents=latents,
        k=int(repository[2]),
        relu=False,
        pre_encoder_bias=False,
        model=f"Qwen/{repository[1]}",
        site="resid",
        layer=int(layer[1]),
    )
    return built(config, **taken)
