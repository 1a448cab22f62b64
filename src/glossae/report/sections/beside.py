"""The paper's numbers beside this run's, cell by cell, and where its code does not do what its text says."""

from glossae.report.blocks import Block, Paragraph, Section, Table
from glossae.report.reading import RunFiles
from glossae.report.sections.beside_effects import next_token_blocks
from glossae.report.sections.beside_probes import probe_blocks
from glossae.report.sections.beside_tasks import task_blocks

# what is done, by the paper's text and by its code (its repository's notebooks)
_SWITCHES = (
    (
        "Probes",
        "the optimum for each lambda",
        "329 to 544 steps of Adam, by the model, ending at strong lambdas in a tremor around zero",
    ),
    (
        "The autoencoder's code",
        "reads x less the pre-encoder bias, as it was trained",
        "reads x itself, wherever latents are found or fixed",
    ),
    ("Finding latents", "on the test set", "on its first 100 sentences"),
    (
        "No modification",
        "the model",
        "the reconstruction from the mis-read code in the activation's place; the model itself is not measured",
    ),
    (
        "Next-token loss",
        "the mean over tokens",
        "the mean over sentences of each one's mean, on the first 251 Danish and 250 English ones",
    ),
    (
        "Tasks",
        "fine-tuned, all rows",
        "frozen; states averaged over pads too; an unscaled regression of at most 100 steps on 2,000 rows; weighted F1",
    ),
)


def beside_section(files: RunFiles) -> Section:
    """Figures 3 and 4, Appendices C and D beside this run's; nothing of the paper's where it is another recipe."""
    return Section("beside", "Beside the paper", "Figures 3, 4, 8 and 9, Appendices C and D", _blocks(files))


def _blocks(files: RunFiles) -> list[Block]:
    published, coded = files.section("published"), files.recipe.protocol == "as_coded"
    if published is None and not coded:
        return [
            Paragraph(
                "The paper's own numbers stand beside those of its recipe, which this is not; --protocol as_coded "
                "sets what its code does beside what its text says for any recipe.",
                "absent",
            )
        ]
    blocks: list[Block] = []
    if published is not None:
        blocks.append(
            Paragraph(
                "The paper's weights and seeds are not released, so that of its numbers only sign and shape can come "
                "again."
                + (
                    ""
                    if coded
                    else " This run does what its text says; --protocol as_coded adds what its code does."
                )
            )
        )
    if coded:
        blocks.append(
            Table(
                "Switches",
                "Where the paper's code does not do what its text says. As coded: the right column. Sentences are the "
                "first in the order of this run's seed.",
                ("What", "By its text", "By its code"),
                _SWITCHES,
                words=3,
            )
        )
    blocks += probe_blocks(files)
    if published is not None and files.section("grid") is not None:
        blocks.append(
            Paragraph("Figure 4's 48 autoencoders stand beside the paper's in their own section, above.")
        )
    return [*blocks, *next_token_blocks(files), *task_blocks(files)]
