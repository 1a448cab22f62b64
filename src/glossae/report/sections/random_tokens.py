"""Which of the selected latents LangFIR's filter would throw out."""

from glossae.report.blocks import Block, Paragraph, Table
from glossae.report.reading import Row
from glossae.report.wording import percent, plural, whole


def random_token_blocks(evidence: Row) -> list[Block]:
    """The selected latents' rates on the target's tokens and on random ones; nothing where none were drawn."""
    found = (evidence["scores"] or {}).get("random_tokens")
    if not found or not found["units"]:
        return []
    units = found["units"]
    kept, random = (sum(unit[key] for unit in units) for key in ("kept", "on_random"))
    return [
        Paragraph(
            f"Of {plural(len(units), 'selected latent')} the random-token filter (LangFIR, arXiv 2604.03532) would "
            f"keep {whole(kept)}; {whole(random)} fire on more than {percent(found['max_random'])} of random tokens, "
            f"and {whole(len(units) - kept - random)} only on fewer than {percent(found['min_rate'])} of the target's."
        ),
        Table(
            "Random tokens",
            "The share of tokens on which each selected latent fires: of the target's text, and of "
            f"{whole(found['tokens'])} tokens drawn at random from the vocabulary.",
            ("Latent", "filter", "target", "random"),
            [
                (
                    str(unit["unit"]),
                    "keeps" if unit["kept"] else "throws out",
                    percent(unit["rate"]),
                    percent(unit["random_rate"]),
                )
                for unit in units
            ],
            words=2,
        ),
    ]
