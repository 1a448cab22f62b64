"""The page's first sections: text, probes, autoencoder."""

from sprog.report.blocks import Section, Table
from sprog.report.probe_figures import draw_accuracy, draw_layer_rule, grid_means
from sprog.report.reading import Run
from sprog.report.unit_figures import draw_training
from sprog.report.words import joined, language_name, number, percent, whole

NOT_RUN = "Not run."


def text_section(run: Run) -> Section:
    """What text each role has."""
    section = Section("Text")
    rows = run.results["corpora"]
    if not rows:
        section.blocks.append(NOT_RUN)
        return section
    cuts = run.record.get("cuts") or {}
    section.blocks.append("; ".join(f"{role}: {how}" for role, how in cuts.items()))
    if run.record.get("translations_may_straddle"):
        section.blocks.append(
            "Warning: some text has no pair ids, so a sentence and its translation may stand in different roles."
        )
    table = [
        [
            row["role"],
            row["name"],
            language_name(row["language"]),
            whole(row["sentences"]),
            whole(row["tokens"]),
            ", ".join(f"{why} {whole(n)}" for why, n in row["dropped"].items() if n) or "none",
        ]
        for row in rows
    ]
    head = ["role", "source", "language", "sentences", "tokens", "dropped"]
    section.blocks.append(Table("Sentences and tokens of every role", head, table))
    return section


def probe_section(run: Run) -> Section:
    """Figure 3 and the layer rule."""
    section = Section("Where the languages part: probes (Figure 3)")
    probe = run.results["probe"]
    if not probe:
        section.blocks.append(NOT_RUN)
        return section
    means = grid_means(probe)
    if len(means):
        best = means.loc[means["accuracy"].where(~means["collapsed"], -1.0).idxmax()]
        text = f"{int(means['collapsed'].sum())} of {len(means)} probes collapsed to zero: their accuracy is noise."
        if not best["collapsed"]:
            text = (
                f"The most accurate probe ({best['model']}, layer {int(best['layer'])}, lambda {best['lambda']:.2g}) "
                f"is right on {percent(float(best['accuracy']))} of held-out tokens. {text}"
            )
        section.blocks.append(text)
    section.blocks.append(draw_accuracy(probe))
    by = "as the probe chose" if probe["chosen_by"] == "probe" else "as the recipe says"
    section.blocks.append(
        f"The rule ({probe['rule']}) chooses layer {probe['best_layer']}; "
        f"the run went on with layer {probe['layer_used']}, {by}."
    )
    section.blocks.append(draw_layer_rule(probe, run.results["model"]))
    return section


def sae_section(run: Run) -> Section:
    """How good the autoencoder is."""
    section = Section("The autoencoder")
    sae = run.results["sae"]
    if not sae:
        section.blocks.append(NOT_RUN)
        return section
    languages = run.ordered(sae["fvu"])
    unexplained = joined(
        [f"{percent(sae['fvu'][language])} of {language_name(language)}" for language in languages]
    )
    section.blocks.append(
        f"With {whole(sae['latents'])} latents and k {sae['k']} at {sae['site']}, layer {sae['layer']}, it leaves "
        f"{unexplained} variance unexplained; {number(sae['l0'], 1)} latents fire at a token, and "
        f"{percent(sae['dead_fraction'])} fire on no token of the select role."
    )
    if run.training is not None:
        section.blocks.append(draw_training(run.training))
    table = []
    for language in languages:
        ce = sae["ce"].get(language, {})
        table.append(
            [language_name(language), number(sae["fvu"][language])]
            + [number(ce.get(key)) for key in ("raw", "spliced", "ablated", "recovered")]
        )
    head = ["language", "FVU", "CE raw", "CE spliced", "CE ablated", "loss recovered"]
    section.blocks.append(Table("What the reconstruction keeps", head, table))
    return section
