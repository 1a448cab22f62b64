"""How it was run: what one needs to run it again and to judge its cost."""

from glossae.report.blocks import Block, Listing, Section, Table
from glossae.report.reading import RunFiles
from glossae.report.wording import language_name, number, whole


def how_section(files: RunFiles) -> Section:
    """The recipe, versions, hashes and wall times."""
    run = files.run
    blocks: list[Block] = []
    # what is recorded of a stage that is still to come is of an earlier run of the folder
    stages = {name: facts for name, facts in (run.get("stages") or {}).items() if name not in files.to_come}
    if stages:
        blocks.append(
            Table(
                "Stages",
                f"{number(sum(facts.get('seconds') or 0 for facts in stages.values()), 1)} seconds in all.",
                ("Stage", "Seconds", "Peak memory (MB)", "Tokens per second", "Fingerprint"),
                [
                    (
                        name,
                        number(facts.get("seconds"), 1),
                        whole(facts.get("peak_memory_mb")),
                        whole(facts.get("tokens_per_second")),
                        str(facts.get("fingerprint") or "–"),
                    )
                    for name, facts in stages.items()
                ],
            )
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
    blocks.append(
        Table(
            "Surroundings",
            "What the numbers may depend on besides the recipe.",
            ("What", "In this run"),
            [(name, str(value)) for name, value in facts.items() if value is not None],
            words=2,
        )
    )
    corpora = files.rows("corpora")
    if corpora:
        blocks.append(
            Table(
                "Hashes of the text",
                "SHA-256 of what each role holds after cleaning.",
                ("Role", "Source", "Language", "SHA-256"),
                [
                    (row["role"], row["name"], language_name(row["language"]), row["sha256"])
                    for row in corpora
                ],
                words=4,
            )
        )
    blocks.append(Listing("The recipe, every setting resolved", files.recipe.to_yaml()))
    return Section("how", "How it was run", "Appendix B", blocks)
