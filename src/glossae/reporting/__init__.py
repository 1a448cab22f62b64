"""The page at the end of a run, its figures and the numbers behind them. It knows files only."""

from glossae.reporting.page import write_report
from glossae.reporting.paper import write_figures

__all__ = ["write_figures", "write_report"]
