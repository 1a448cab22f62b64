"""The stage that sets downstream tasks with the edits in place (the paper's Figure 9 and Appendix D)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from glossae.effects import Edit, UnitRange, doses
from glossae.errors import GlossaeError
from glossae.files import write_json
from glossae.paper import as_coded
from glossae.recipe import Recipe
from glossae.run.as_coded import coded_encoder
from glossae.run.context import Context, longest_text
from glossae.run.folder import as_rows
from glossae.run.sae_stage import load_sae
from glossae.run.show import Report, part
from glossae.run.tables import write_table
from glossae.tasks import TaskScore, Tuning, controlled, fine_tuned
from glossae.text import Task, split_tasks
from glossae.toy import toy_rows


def read_tasks(recipe: Recipe) -> list[Task]:
    """The tasks that the recipe names, fetched, read or made.

    Raises:
        GlossaeError: one is not to be had, or is no labelled task; the line begins with the key.
    """
    if recipe.tasks.names is None:
        return []
    try:
        return [source.read(recipe.seed, {"toy": toy_rows}) for source in split_tasks(recipe.tasks.names)]
    except GlossaeError as error:
        raise GlossaeError(f"tasks.names: {error}") from error


def tasks_stage(context: Context, layer: int, tasks: Sequence[Task], report: Report) -> dict[str, Any]:
    """Every task under every value, by the protocols that the recipe asks for."""
    edits = _edits(context)
    rows: list[TaskScore] = []
    for number, task in enumerate(tasks):
        own = part(report, number / len(tasks), (number + 1) / len(tasks))
        rows += _scores(context, layer, task, edits, str(number), own)
    table = as_rows(rows)
    folder = context.folder.path / "tasks"
    write_table(folder / "scores.parquet", table)
    write_json(folder / "sets.json", {task.name: _facts(task) for task in tasks})
    return {"tasks": table}


def _scores(
    context: Context, layer: int, task: Task, edits: Sequence[Edit], name: str, report: Report
) -> list[TaskScore]:
    """A task by each protocol; each is a part of the stage, and `name` begins the parts' names."""
    recipe, settings = context.recipe, context.recipe.tasks
    lm, site, sae = context.lm, context.site(layer), load_sae(context)
    shared: dict[str, Any] = {"name": context.target, "draws": recipe.effects.bootstrap, "seed": recipe.seed}
    text: dict[str, Any] = {
        "rows": settings.rows,
        "max_tokens": longest_text(recipe, lm),
        "prefix": context.lm.prefix,
        "budget": recipe.batch_tokens,
    }
    spliced = [edit for edit in edits if edit.splice]
    kept = [edit for edit in edits if not edit.splice]
    work: list[Callable[[Report], list[TaskScore]]] = []
    if recipe.task_protocol != "as_coded":
        work.append(
            lambda done: controlled(lm, site, sae, task, edits, planted=True, **shared, **text, progress=done)
        )
    if recipe.task_protocol != "controlled":
        # the paper knows no other way than the splice
        coded = coded_encoder(recipe, sae)
        work.append(lambda done: as_coded(lm, site, coded, task, spliced, **shared, progress=done))
    if settings.finetune:
        tuning = Tuning(epochs=settings.epochs, seeds=settings.seeds)
        work.append(
            lambda done: fine_tuned(lm, site, sae, task, kept, tuning=tuning, **shared, **text, progress=done)
        )
    found: list[TaskScore] = []
    for number, step in enumerate(work):
        own = part(report, number / len(work), (number + 1) / len(work))
        found += context.parts["tasks"].rows(TaskScore, f"{name}-{number}", partial(step, own))
        own(1.0)
    return found


def _edits(context: Context) -> list[Edit]:
    """The splice without an edit, then every value, spliced and error-preserving; units that never fire have none."""
    stored = context.folder.read("features", "ranges.json")["ranges"]
    units = tuple(int(unit) for unit in stored)
    ranges = [UnitRange(**stored[str(unit)]) for unit in units]
    wanted = context.recipe.tasks.values
    chosen = [dose for dose in doses(wanted, ranges, context.recipe.effects.unit) if dose.value in wanted]
    return [Edit("none", splice=True)] + [
        Edit("set", units, dose.targets, splice, dose.value) for splice in (True, False) for dose in chosen
    ]


def _facts(task: Task) -> dict[str, Any]:
    """What the report says of a task's rows."""
    return {
        "language": task.language,
        "source": task.source,
        "labels": list(task.labels),
        "rows": {split: len(rows) for split, rows in task.splits.items()},
        "dropped": {split: dict(count) for split, count in task.dropped.items()},
        "provenance": dict(task.provenance),
        "sha256": task.sha256,
    }
