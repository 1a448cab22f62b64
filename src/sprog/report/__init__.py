"""A run folder as one page: figures, tables, and sentences that say what they show in this run."""

from sprog.report.page import write_report

__all__ = ["write_report"]
