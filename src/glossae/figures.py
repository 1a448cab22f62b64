"""`glossae figures`: a run's figures and tables for a paper."""

import argparse
from pathlib import Path
from typing import Any

_ABOUT = """\
Write the figures of a run's page as PDF and SVG at a paper's column width, with fonts of type 42, and its
tables as LaTeX (package booktabs).

  glossae figures runs/demo                 into runs/demo/paper
  glossae figures runs/demo --out paper

The same run gives the same bytes. Files of the same names in FOLDER are overwritten, others are left alone."""


def add_figures(commands: Any) -> None:
    """Add `glossae figures` to the commands."""
    short = "write a run's figures and tables for a paper: PDF, SVG and LaTeX"
    usage = "glossae figures RUN [--out FOLDER] [--style paper]"
    parser = commands.add_parser("figures", help=short, usage=usage, description=_ABOUT)
    parser.set_defaults(do=_figures)
    parser.need("run", nargs="?", metavar="RUN", help="the folder of a run")
    parser.add_argument("--out", metavar="FOLDER", help="the folder to write to [RUN/paper]")
    parser.add_argument("--style", choices=("paper",), metavar="STYLE", help="paper: column width [paper]")


def _figures(given: argparse.Namespace) -> dict[str, Any]:
    from glossae.files import refuse_links
    from glossae.reporting import write_figures

    run = Path(given.run)
    out = run / "paper" if given.out is None else Path(given.out)
    if given.out is None:
        refuse_links(run, ("paper",))
    written = write_figures(run, out)
    kinds = {kind: sum(path.suffix == f".{kind}" for path in written) for kind in ("pdf", "svg", "tex")}
    print(f"{out}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    return {"out": str(out), "files": [path.name for path in written]}
