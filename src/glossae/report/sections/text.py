"""Which text played which role (the paper's section 3)."""

from collections.abc import Mapping, Sequence

from glossae.report.blocks import Block, Cell, Paragraph, Section, Table, not_run
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import capital, language_name, listed, whole

_USES = {
    "train": "the autoencoder and the probes",
    "select": "which units",
    "tune": "doses",
    "test": "every claim",
    "panel": "tests of units",
    "replicate": "the same tests again",
}


def text_section(files: RunFiles) -> Section:
    """The roles with what was read, kept and left out."""
    rows = files.rows("corpora")
    blocks: list[Block] = []
    if not rows:
        blocks.append(not_run("Text"))
    else:
        blocks.append(Paragraph(_summary(files), "finding"))
        blocks += [Paragraph(f"{role}: {sentence}") for role, sentence in _cuts(files).items()]
        blocks.append(Paragraph(_documents(rows)))
        first = {row["role"]: place for place, row in reversed(list(enumerate(rows)))}
        if files.run.get("translations_may_straddle"):
            blocks.append(
                Paragraph(
                    "Some text has no pair ids: a sentence and its translation may be in different roles, "
                    "so that the roles are less apart than they look.",
                    "warning",
                )
            )
        blocks.append(
            Table(
                "Text by role",
                "Sentences and tokens that each role has, and what became of the rest. "
                "Cut: texts longer than the limit, of which the beginning was used.",
                (
                    "Role",
                    "Source",
                    "Language",
                    "Read",
                    "Kept",
                    "Tokens",
                    "Cut",
                    "Dropped",
                    "Mended",
                    "To others",
                ),
                [
                    (
                        Cell(row["role"], _USES.get(row["role"], "") if first[row["role"]] == place else ""),
                        row["name"],
                        language_name(row["language"]),
                        whole(row.get("read")),
                        whole(row["sentences"]),
                        whole(row["tokens"]),
                        whole(row.get("cut")),
                        _tally(row["dropped"]),
                        _tally(row.get("changed")),
                        _tally(row.get("moved")),
                    )
                    for place, row in enumerate(rows)
                ],
                words=3,
            )
        )
    return Section("text", "Text", "section 3", blocks)


def _documents(rows: Sequence[Row]) -> str:
    """Which sources tell documents, and what is drawn as one where they do not."""
    told = {row["name"]: 0 for row in rows if row["sentences"]}
    for row in rows:
        if row["sentences"] and row.get("documents"):
            told[row["name"]] = max(told[row["name"]], row["documents"])
    having = [
        f"{name} ({whole(count)} in one role and language at most)" for name, count in told.items() if count
    ]
    lacking = [name for name, count in told.items() if not count]
    parts = []
    if having:
        parts.append(
            f"Documents are told by {listed(having)}: no document is in two roles, and intervals resample whole ones."
        )
    if lacking:
        parts.append(
            f"No documents are told by {listed(lacking)}: there each sentence counts as drawn by itself, with its "
            "translation where it has one."
        )
    return " ".join(parts)


def _cuts(files: RunFiles) -> Mapping[str, str]:
    cuts: Mapping[str, str] = files.run.get("cuts") or {}
    return cuts


def _summary(files: RunFiles) -> str:
    parts = []
    for role in dict.fromkeys(row["role"] for row in files.rows("corpora")):
        own = [row for row in files.rows("corpora") if row["role"] == role]
        counts: dict[str, int] = {}
        for row in own:
            counts[row["language"]] = counts.get(row["language"], 0) + row["sentences"]
        parts.append(
            f"{role} has {listed([f'{whole(n)} {language_name(code)}' for code, n in counts.items()])} sentences"
        )
    dropped = sum(sum(row["dropped"].values()) for row in files.rows("corpora"))
    end = f"{whole(dropped)} were dropped." if dropped else "None were dropped."
    return capital("; ".join(parts)) + ". " + end


def _tally(counts: Mapping[str, int] | None) -> str:
    parts = [
        f"{whole(count)} {reason.replace('_', ' ')}" for reason, count in (counts or {}).items() if count
    ]
    return ", ".join(parts) or "–"
