"""Write an SAE's two files and its model card, and check what an export may overwrite."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from glossae.errors import GlossaeError
from glossae.files import replacing, write_text
from glossae.sae.sae import Sae

CARD = "README.md"
# a file that begins with this is the card of an earlier export
HEADING = "# Sparse autoencoder, exported by glossae"


def write_pair(weights: Path, tensors: dict[str, Tensor], config: Path, settings: dict[str, Any]) -> None:
    """Write tensors and their config.

    Both are complete before either is renamed, and the config is renamed last: a folder with a config is
    complete.
    """
    from safetensors.torch import save_file

    # copies: safetensors refuses shared and transposed tensors
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps(settings, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(config) as new_config, replacing(weights) as new_weights:
        save_file(plain, new_weights)
        new_config.write_text(text, encoding="utf-8")


def write_card(sae: Sae, folder: Path) -> None:
    """Write a model card: first the bounds that the SAE exceeds, then its facts and fidelity."""
    config, quality = sae.config, sae.quality
    lines = [HEADING, ""]
    if sae.unsound:
        lines += ["**This autoencoder is unsound.**", "", *(f"- {finding}" for finding in sae.unsound), ""]
    kind = config.activation + ("" if config.k is None else f", k = {config.k}")
    facts = {
        "Model": config.model or "not known",
        "Site": f"{config.site}, layer {config.layer}" if config.site else "not known",
        "Trained on": sae.trained_on or "not known",
        "Width of the site": f"{config.d_in:,}",
        "Latents": f"{config.latents:,} ({kind})",
    }
    if quality is not None:
        facts |= {
            "Measured on": f"{quality.tokens:,} tokens",
            "Latents firing at a token (L0)": f"{quality.l0:.1f}",
            "Dead latents": f"{100 * quality.dead_fraction:.1f} %",
            "Variance along one direction": f"{100 * quality.top_direction:.1f} %",
            "Variance in the largest 1 % of tokens": f"{100 * quality.top_tokens:.1f} %",
        }
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    if quality is None:
        lines.append("Its fidelity was not measured.")
    else:
        lines += [
            "FVU: the fraction of variance unexplained, around the mean of all text, the language's own mean, and as "
            "a mean over tokens of each token's own share. Loss: nats a token, of the model and with the "
            "reconstruction in the site's place; ±: half the width of the 95 % interval of their difference.",
            "",
            "| Language | FVU | within the language | mean over tokens | loss | spliced | ± | recovered |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for code, fvu in quality.fvu.items():
            ce = quality.ce.get(code)
            losses = (None,) * 4 if ce is None else (ce.raw, ce.spliced, ce.half_width, ce.recovered)
            values = (fvu, quality.fvu_within.get(code), quality.fvu_normalised.get(code), *losses)
            cells = ("–" if value is None else f"{value:.3f}" for value in values)
            lines.append(f"| {code} | {' | '.join(cells)} |")
    write_text(folder / CARD, "\n".join(lines) + "\n")


def check_free(folder: Path, files: Collection[str], kind: str, folders: Collection[str] = ()) -> None:
    """Check that an export may be written into a folder: it does not exist, or holds only an earlier export.

    Args:
        folder: the folder of the export.
        files: the export's files besides the card.
        kind: the kind of export, in words.
        folders: other folders that may be there.
    """
    # `missing/..` is there once `missing` is made
    there = folder.resolve()
    if there.exists() and not there.is_dir():
        raise GlossaeError(f"--out: {folder} is a file; give a folder")
    for path in sorted(there.iterdir()) if there.is_dir() else ():
        is_file = path.is_file()
        # a name that begins with a dot is left over from an interrupted write
        if path.name.startswith(".") or (
            is_file and path.name == CARD and path.read_bytes().startswith(HEADING.encode())
        ):
            continue
        if path.name not in (files if is_file else folders):
            raise GlossaeError(
                f"--out: {folder} holds '{path.name}', which is no part of {kind}; give another folder"
            )
