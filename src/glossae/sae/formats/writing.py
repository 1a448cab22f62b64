"""Writing an autoencoder's two files and its model card, and what may be written over."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from glossae.errors import GlossaeError
from glossae.files import replacing
from glossae.sae.sae import Sae

CARD = "README.md"
# a file that begins so is a card of an earlier export
HEADING = "# Sparse autoencoder, exported by glossae"


def write_pair(weights: Path, tensors: dict[str, Tensor], config: Path, settings: dict[str, Any]) -> None:
    """Write tensors and the config that says what they are.

    Both are whole before either takes its place, and the config does so last: a folder that has one is whole.
    """
    from safetensors.torch import save_file

    # copies: two names for one tensor, or a transposed one, are not for a file
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps(settings, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(config) as new_config, replacing(weights) as new_weights:
        save_file(plain, new_weights)
        new_config.write_text(text, encoding="utf-8")


def write_card(sae: Sae, folder: Path) -> None:
    """Write a model card: first what makes the autoencoder unsound, then what it is and how faithful."""
    with replacing(folder / CARD) as path:
        path.write_text("\n".join(_card(sae)) + "\n", encoding="utf-8")


def _card(sae: Sae) -> list[str]:
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
        return [*lines, "Its fidelity was not measured."]
    lines += [
        "FVU: the fraction of variance unexplained, around the mean of all text, the language's own mean, and as "
        "a mean over tokens of each token's own share. Loss: nats a token, of the model and with the reconstruction in "
        "the site's place; ±: half the width of the 95 % interval of their difference.",
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
    return lines


def _is_card(path: Path) -> bool:
    return path.name == CARD and path.read_bytes().startswith(HEADING.encode())


def check_free(folder: Path, files: Collection[str], kind: str, folders: Collection[str] = ()) -> None:
    """May files of these names be written into a folder? It may be missing, or hold nothing but them and a card.

    Args:
        folder: where to.
        files: what may be there.
        kind: what they are, in words.
        folders: other folders that may be there.

    Raises:
        GlossaeError: it is a file, or holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise GlossaeError(f"--out: {folder} is a file; give a folder")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        # what begins with a dot was left by a write that was cut short
        if path.name.startswith(".") or (path.is_file() and _is_card(path)):
            continue
        if path.name not in (files if path.is_file() else folders):
            raise GlossaeError(
                f"--out: {folder} holds '{path.name}', which is no part of {kind}; give another folder"
            )
