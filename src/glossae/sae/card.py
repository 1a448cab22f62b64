"""The model card of an SAE, and the parts of cards: metadata for the hub, escaped text, tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from glossae._version import __version__
from glossae.files import shared_name
from glossae.sae.sae import Sae

CARD = "README.md"
MARK = "<!-- glossae wrote this card, and replaces it when it exports or pushes again -->"
"""A card with this line may be overwritten by the next one."""
# characters that Markdown or HTML would obey
_SPECIAL = {ord(character): f"\\{character}" for character in "\\`*_[]|~#$"} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
}


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line, without control characters."""
    one_line = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return one_line.translate(_SPECIAL)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; cells have to be escaped already. None is a dash."""
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *cells)]


def metadata(
    *, model: str, commit: str | None, languages: Sequence[str], library: str | None, **more: Any
) -> str:
    """The YAML front matter of a card, which the hub reads.

    Args:
        model: the model's name as it may be shared; only a name with an owner is a `base_model`.
        commit: its commit; the hub itself has no key for it.
        languages: codes.
        library: the library that reads the weights.
        more: other keys of the hub, such as `license`; None leaves one out.
    """
    from huggingface_hub import ModelCardData

    base: dict[str, Any] = (
        {"base_model": model, "base_model_revision": commit} if model.count("/") == 1 else {}
    )
    tags = ["glossae", "interpretability", "sparse-autoencoder" if library == "saelens" else "steering"]
    data = ModelCardData(language=list(languages) or None, library_name=library, tags=tags, **base, **more)
    return f"---\n{data.to_yaml()}\n---\n"


def sae_card(
    sae: Sae,
    *,
    title: str = "A sparse autoencoder, exported by glossae",
    head: str | None = None,
    found: Sequence[str] = (),
    rest: Sequence[str] = (),
) -> str:
    """The card of an SAE: first the bounds that it exceeds, then what it is and its fidelity by language.

    Args:
        sae: the SAE.
        title: a heading, escaped.
        head: the metadata; None makes it of the SAE's config.
        found: lines to stand before the SAE's facts: what was found with it.
        rest: lines to stand at the end.
    """
    config, quality = sae.config, sae.quality
    model, _, revision = shared_name(config.model).partition("@")
    if head is None:
        head = metadata(
            model=model,
            commit=revision or None,
            languages=quality.judged if quality else (),
            library=None if config.negative else "saelens",
        )
    lines = [head, f"# {title}", "", MARK, ""]
    if sae.unsound:
        lines += [
            "**This autoencoder is unsound.**",
            "",
            *(f"- {plain(finding)}" for finding in sae.unsound),
            "",
        ]
    kind = config.activation + ("" if config.k is None else f", k = {config.k}")
    facts: Mapping[str, str] = {
        "Model": plain(model + (f", revision {revision}" if revision else "")) or "not known",
        "Site": f"{config.site}, layer {config.layer}" if config.site else "not known",
        "Trained on": plain(sae.trained_on) or "not known",
        "Width of the site": f"{config.d_in:,}",
        "Latents": f"{config.latents:,} ({kind})",
    }
    if quality is not None:
        facts = {
            **facts,
            "Measured on": f"{quality.tokens:,} tokens",
            "Latents firing at a token (L0)": f"{quality.l0:.1f}",
            "Dead latents": f"{100 * quality.dead_fraction:.1f} %",
            "Variance along one direction": f"{100 * quality.top_direction:.1f} %",
            "Variance in the largest 1 % of tokens": f"{100 * quality.top_tokens:.1f} %",
        }
    lines += [*found, "## The autoencoder", "", *table(("", ""), facts.items()), ""]
    if quality is None:
        lines.append("Its fidelity was not measured.")
    else:
        lines += [
            "FVU: the fraction of variance unexplained, around the mean of all text, the language's own mean, and as "
            "a mean over tokens of each token's own share. Loss: nats a token, of the model and with the "
            "reconstruction in the site's place; ±: half the width of the 95 % interval of their difference.",
            "",
        ]
        rows = []
        for code, fvu in quality.fvu.items():
            ce = quality.ce.get(code)
            losses = (None,) * 4 if ce is None else (ce.raw, ce.spliced, ce.half_width, ce.recovered)
            values = (fvu, quality.fvu_within.get(code), quality.fvu_normalised.get(code), *losses)
            rows.append([code, *(None if value is None else f"{value:.3f}" for value in values)])
        names = ("FVU", "within the language", "mean over tokens", "loss", "spliced", "±", "recovered")
        lines += table(("Language", *names), rows)
    lines += ["", *(rest or [f"Written by glossae {__version__}."])]
    return "\n".join(lines) + "\n"
