"""Whether the units are there again in autoencoders of other seeds (the paper trained one)."""

from glossae.report.blocks import Block, Cell, Paragraph, Table, not_run
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import NO_BREAK, counted, listed, number, percent, plural, whole

_MOST_UNITS = 20


def seeds_blocks(files: RunFiles) -> list[Block]:
    """How much of what was found, and of all that fires, is there again; and unit by unit."""
    stability = files.section("stability")
    if stability is None:
        return [not_run("Autoencoders of other seeds (evidence.seeds)")]
    if stability["reason"] is not None:
        return [Paragraph(f"Other seeds were not looked at: {stability['reason']}.", "absent")]
    blocks: list[Block] = [Paragraph(_finding(stability), "finding")] if stability["found"] else []
    blocks.append(_seeds(stability))
    return blocks + ([_units(stability)] if stability["units"] else [])


def _finding(stability: Row) -> str:
    seeds = stability["seeds"]
    both, found = ([row["selected"][what] for row in seeds] for what in ("both", "partner_found"))
    every = [row["firing"]["both"] for row in seeds]
    return (
        f"Of the {plural(stability['found'], 'latent')} found as {stability['claim']}, {_range(both)} are there again "
        f"in {_autoencoders(len(seeds))} trained with another seed: a latent there has both a cosine and a correlation "
        f"of at least {stability['same']:g}. Of all latents that fire {_range(every)} are. The partners of "
        f"{_range(found)} pass the same test there."
    )


def _autoencoders(count: int) -> str:
    return "an autoencoder" if count == 1 else f"{counted(count)} autoencoders"


def _range(shares: list[float | None]) -> str:
    known = sorted(share for share in shares if share is not None)
    if not known:
        return "none"
    low, high = percent(known[0]), percent(known[-1])
    return low if low == high else f"{low} to {high}"


def _seeds(stability: Row) -> Table:
    same = f"{stability['same']:g}"
    return Table(
        "Other seeds",
        "Autoencoders trained on the same text with other first weights and in another order. Cosine: the share of "
        f"latents for which one there has a decoder row at a cosine of at least {same}. Correlation: for which one "
        f"there correlates at least so much, over {whole(stability['tokens'])} tokens of the half held out (for all "
        "that fire, among the nearest by cosine only). Both: in one and the same. One to one: the same where no two "
        "have one partner. Partner found: that partner passes the test there, on the text on which the run's were "
        "found; closest found: the one that correlates most does. "
        f"For comparison: about 30{NO_BREAK}% of 131{NO_BREAK}072 latents on an MLP of Llama 3 8B were shared "
        "by two seeds (Paulo and Belrose 2025, by the cosines of encoder and decoder).",
        (
            "Seed",
            "latents",
            "of",
            "cosine",
            "correlation",
            "both",
            "one to one",
            "partner found",
            "closest found",
            "found there",
        ),
        [
            (
                str(row["seed"]),
                words,
                whole(row[which]["of"]),
                *(percent(row[which][what]) for what in ("cosine", "correlation", "both")),
                percent(row[which].get("one_to_one")),
                percent(row[which].get("partner_found")),
                percent(row[which].get("correlate_found")),
                whole(row["found"]) if which == "selected" else "–",
            )
            for row in stability["seeds"]
            for which, words in (("selected", f"{stability['claim']}"), ("firing", "all that fire"))
        ],
        words=2,
    )


def _units(stability: Row) -> Table:
    units = stability["units"][:_MOST_UNITS]
    more = f" The first {_MOST_UNITS}." if stability["found"] > _MOST_UNITS else ""
    seeds = [row["seed"] for row in stability["seeds"]]
    return Table(
        "Partners",
        "Each unit's partner, one to one by cosine, with the cosine and below it the correlation; last, in which seeds "
        f"both are large enough.{more}",
        ("Latent", *(f"seed {seed}" for seed in seeds), "again in"),
        [
            (
                unit["label"].removeprefix("latent "),
                *(_partner(row) for row in unit["seeds"]),
                _again(unit),
            )
            for unit in units
        ],
    )


def _partner(row: Row) -> Cell:
    if row["partner"] < 0:
        return Cell("–")
    found = ", found" if row["partner_found"] else ""
    return Cell(
        f"{row['partner']}: {number(row['partner_cosine'], 2)}",
        f"{number(row['partner_correlation'], 2)}{found}",
    )


def _again(unit: Row) -> str:
    where = [str(row["seed"]) for row in unit["seeds"] if row["again"]]
    return listed(where) if where else "none"
