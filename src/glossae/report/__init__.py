"""The page at the end of a run, its figures and the numbers behind them. It knows files only."""

from glossae.report.figures.probes import probe_table
from glossae.report.page import write_report
from glossae.report.reading import SCHEMA_VERSION

__all__ = [
    "SCHEMA_VERSION",
    "probe_table",
    "write_report",
]
