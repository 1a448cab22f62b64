"""The page at the end of a run, its figures and the numbers behind them. It knows files only."""

from glossae.reporting.page import write_report
from glossae.reporting.reading import SCHEMA_VERSION

__all__ = ["SCHEMA_VERSION", "write_report"]
