"""The stage `report`: the page of a run, drawn after other stages and at the end."""

from glossae.plan import Work
from glossae.reporting import write_report
from glossae.results import StageResults
from glossae.run.context import Context, Inputs, Progress
from glossae.stages.stage import Stage


def run(context: Context, progress: Progress) -> StageResults:
    """Draw the figures and the page of what `results.json` has; nothing goes into that."""
    write_report(context.folder.path)
    return StageResults()


STAGE = Stage(
    name="report",
    does="drawing figures and writing the page",
    run=run,
    inputs=lambda _: Inputs(),
    # figures and the page, on the CPU
    cost=lambda _: Work(seconds=15),
    words=lambda _: "figures and the page",
)
