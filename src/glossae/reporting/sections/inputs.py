"""What went into a run: the text of each role (section 3), the recipe, versions, hashes and times (Appendix B)."""

from collections.abc import Mapping, Sequence

from glossae.reporting.blocks import Blocks, Cell, Listing, Paragraph, not_run, table
from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import capital, language_name, listed, number, whole
from glossae.results import CorpusRow

_USES = {
    "train": "the autoencoder and the probes",
    "select": "which units",
    "tune": "doses",
    "test": "every claim",
    "panel": "tests of units",
    "replicate": "the same tests again",
}


def text_blocks(files: RunFiles) -> Blocks:
    """The roles with what was read, kept and left out."""
    rows = files.results.corpora
    if not rows:
        yield not_run("Text")
        return
    yield Paragraph(_summary(rows), "finding")
    for role, sentence in (files.run.get("cuts") or {}).items():
        yield Paragraph(f"{role}: {sentence}")
    yield Paragraph(_documents(rows))
    if files.run.get("translations_may_straddle"):
        yield Paragraph(
            "Some text has no pair ids: a sentence and its translation may be in different roles, "
            "so that the roles are less apart than they look.",
            "warning",
        )
    first = {row.role: place for place, row in reversed(list(enumerate(rows)))}
    yield table(
        "Text by role",
        "Sentences and tokens that each role has, and what became of the rest. "
        "Cut: texts longer than the limit, of which the beginning was used.",
        [
            {
                "Role": Cell(row.role, _USES.get(row.role, "") if first[row.role] == place else ""),
                "Source": row.name,
                "Language": language_name(row.language),
                "Read": whole(row.read),
                "Kept": whole(row.sentences),
                "Tokens": whole(row.tokens),
                "Cut": whole(row.cut),
                "Dropped": _tally(row.dropped),
                "Mended": _tally(row.changed),
                "To others": _tally(row.moved),
            }
            for place, row in enumerate(rows)
        ],
        words=3,
    )


def _summary(rows: Sequence[CorpusRow]) -> str:
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        role = counts.setdefault(row.role, {})
        role[row.language] = role.get(row.language, 0) + row.sentences
    parts = [
        f"{role} has {listed([f'{whole(n)} {language_name(code)}' for code, n in own.items()])} sentences"
        for role, own in counts.items()
    ]
    dropped = sum(sum(row.dropped.values()) for row in rows)
    return f"{capital('; '.join(parts))}. {whole(dropped) if dropped else 'None'} were dropped."


def _documents(rows: Sequence[CorpusRow]) -> str:
    """Which sources tell documents, and what is drawn as one where they do not."""
    told: dict[str, int] = {}
    for row in rows:
        if row.sentences:
            told[row.name] = max(told.get(row.name, 0), row.documents or 0)
    having = [f"{name} ({whole(n)} in one role and language at most)" for name, n in told.items() if n]
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


def _tally(counts: Mapping[str, int]) -> str:
    parts = [f"{whole(count)} {reason.replace('_', ' ')}" for reason, count in counts.items() if count]
    return ", ".join(parts) or "–"


def how_blocks(files: RunFiles) -> Blocks:
    """The recipe, versions, hashes and wall times."""
    run = files.run
    # what is recorded of a stage that is still to come is of an earlier run of the folder
    stages = {name: facts for name, facts in (run.get("stages") or {}).items() if name not in files.to_come}
    if stages:
        yield table(
            "Stages",
            f"{number(sum(facts.get('seconds') or 0 for facts in stages.values()), 1)} seconds in all.",
            [
                {
                    "Stage": name,
                    "Seconds": number(facts.get("seconds"), 1),
                    "Peak memory (MB)": whole(facts.get("peak_memory_mb")),
                    "Tokens per second": whole(facts.get("tokens_per_second")),
                    "Fingerprint": str(facts.get("fingerprint") or "–"),
                }
                for name, facts in stages.items()
            ],
        )
    facts = {
        "Model": files.recipe.model,
        "Model's commit": run.get("model_commit") or "a folder, without one",
        "Protocol": files.recipe.protocol,
        "Seed": run.get("seed", files.recipe.seed),
        "Device": run.get("device"),
        "Precision": run.get("dtype"),
        "Threads": run.get("threads"),
        "glossae": run.get("glossae", run.get("sprog")),
        **(run.get("versions") or {}),
    }
    yield table(
        "Surroundings",
        "What the numbers may depend on besides the recipe.",
        [{"What": name, "In this run": str(value)} for name, value in facts.items() if value is not None],
        words=2,
    )
    if corpora := files.results.corpora:
        yield table(
            "Hashes of the text",
            "SHA-256 of what each role holds after cleaning.",
            [
                {
                    "Role": row.role,
                    "Source": row.name,
                    "Language": language_name(row.language),
                    "SHA-256": row.sha256,
                }
                for row in corpora
            ],
            words=4,
        )
    yield Listing("The recipe, every setting resolved", files.recipe.to_yaml())
