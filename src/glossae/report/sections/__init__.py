"""The parts of the page, in the paper's order."""

from glossae.report.blocks import Section
from glossae.report.reading import RunFiles
from glossae.report.sections.autoencoder import autoencoder_section
from glossae.report.sections.baselines import baselines_section
from glossae.report.sections.beside import beside_section
from glossae.report.sections.close_languages import close_section
from glossae.report.sections.continuations import continuations_section
from glossae.report.sections.effects import effects_section, selectivity_section
from glossae.report.sections.evidence import evidence_section
from glossae.report.sections.grid import grid_section
from glossae.report.sections.how import how_section
from glossae.report.sections.identification import identification_section
from glossae.report.sections.probes import probes_section
from glossae.report.sections.steering import steering_section
from glossae.report.sections.tasks import tasks_section
from glossae.report.sections.text import text_section
from glossae.report.sections.units import histograms_section, texts_section, units_section


def sections(files: RunFiles) -> list[Section]:
    """Every part, whether it was run or not."""
    return [
        text_section(files),
        probes_section(files),
        grid_section(files),
        autoencoder_section(files),
        evidence_section(files),
        close_section(files),
        identification_section(files),
        units_section(files),
        histograms_section(files),
        texts_section(files),
        baselines_section(files),
        effects_section(files),
        selectivity_section(files),
        tasks_section(files),
        continuations_section(files),
        steering_section(files),
        beside_section(files),
        how_section(files),
    ]
