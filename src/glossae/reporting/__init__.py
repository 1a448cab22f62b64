"""The page at the end of a run, its figures and the numbers behind them. It knows files only."""

from glossae.reporting.neuronpedia import write_neuronpedia
from glossae.reporting.page import write_report
from glossae.reporting.paper import write_figures
from glossae.reporting.unit_pages import write_unit_pages

__all__ = ["write_figures", "write_neuronpedia", "write_report", "write_unit_pages"]
