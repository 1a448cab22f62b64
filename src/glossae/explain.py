"""`glossae explain`: have a language model label a run's units, and score the labels."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glossae.errors import one_line
from glossae.flags import typed
from glossae.recipe import Text

if TYPE_CHECKING:
    from glossae.results import UnitDashboard, UnitLabel

_USAGE = "glossae explain RUN --endpoint URL --model NAME"
_ABOUT = """\
Have a language model label each unit that has a page, and score the labels.

  glossae explain runs/demo --endpoint http://localhost:8000/v1 --model qwen3-8b

The endpoint is any server with OpenAI's chat completions; a key is read from the environment variable
OPENAI_API_KEY. Sentences of the run's text are sent to it. A label is proposed from the unit's best contexts. It is
scored by detection: the model gets the label and other sentences, half of which the unit fires on, and says on
which. Labels stand on the units' pages beside the tests, and are not evidence. Those that are there already, by the
same model, are kept."""


def add_explain(commands: Any) -> None:
    """Add `glossae explain` to the commands."""
    short = "have a language model label a run's units"
    parser = commands.add_parser("explain", help=short, usage=_USAGE, description=_ABOUT)
    parser.set_defaults(do=_explain)
    parser.need(
        "run", nargs="?", metavar="RUN", help="the folder of a run that has finished the stage dashboards"
    )
    endpoint = "the server's URL, with or without /chat/completions; a query such as ?api-version=1 stays"
    parser.need("--endpoint", type=typed(Text), metavar="URL", help=endpoint)
    parser.need("--model", type=typed(Text), metavar="NAME", help="the model, as the server calls it")


def _explain(given: argparse.Namespace) -> dict[str, Any]:
    from glossae.reporting import write_unit_pages
    from glossae.run.folder import open_run
    from glossae.units import Endpoint, explain

    run, endpoint = open_run(Path(given.run)), Endpoint(given.endpoint, given.model)
    try:
        labels = explain(run.path, run.dashboards, endpoint, seed=run.recipe.seed, told=_told)
    finally:
        # also those of before an error
        write_unit_pages(run.path)
    page = run.path / "units" / "index.html"
    print(f"labels by {given.model}, not evidence: {page}")
    return {"page": str(page), "labels": [label.to_json() for label in labels]}


def _told(unit: "UnitDashboard", label: "UnitLabel | None") -> None:
    """Print a unit's label on one line."""
    said = (
        "no label: too few sentences"
        if label is None
        else (
            f"{label.label} (balanced accuracy {label.balanced_accuracy:.2f}, {label.low:.2f} to {label.high:.2f}, on "
            f"{label.firing + label.silent} sentences)"
        )
    )
    print(one_line(f"{unit.label}: {said}"), flush=True)
