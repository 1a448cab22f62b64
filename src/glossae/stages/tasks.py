"""The stage `tasks`: downstream tasks with the edits in place (the paper's Figure 9 and Appendix D)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from glossae.corpora import Task, split_tasks
from glossae.effects import Edit
from glossae.errors import GlossaeError
from glossae.files import write_json
from glossae.paper import as_coded, without_pre_encoder_bias
from glossae.plan import Quantities, Work, task_facts
from glossae.recipe import Recipe, Tasks
from glossae.results import StageResults, TaskScore
from glossae.run.context import Context, Inputs, Progress, longest_text, part
from glossae.run.folder import as_rows, write_table
from glossae.stages.sae import load_sae
from glossae.stages.shared.units import selected_latents
from glossae.stages.stage import Stage, settings_of
from glossae.tasks import Tuning, check_rows, controlled, fine_tuned, peft_library
from glossae.toy import toy_rows

# of a dry run: tokens of a row, and of the longest of two thousand, in the paper's three tasks
ROW_TOKENS, LONGEST = 45, 190
# rows of a task that the paper's code takes
CODED_ROWS = 2000
# a regression's solver goes over its rows so often; each is fitted on several folds, and some on several splits
ITERATIONS, FITS = 200, 30


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


def prepare(context: Context) -> None:
    """Read the tasks."""
    context.prepared["tasks"] = read_tasks(context.recipe)


def _tasks(context: Context) -> list[Task]:
    """The tasks; a run that ends before this stage reads them only if the stage was done before."""
    if "tasks" not in context.prepared:
        prepare(context)
    tasks: list[Task] = context.prepared["tasks"]
    return tasks


def check(context: Context) -> None:
    """Check that the tasks have rows enough, and that what fine-tunes is installed.

    Raises:
        GlossaeError: a label has too few rows, or peft is missing.
    """
    recipe, lm = context.recipe, context.lm
    # those that the run ends before are not read
    tasks: list[Task] = context.prepared.get("tasks", [])
    for task in tasks if recipe.task_protocol != "as_coded" else ():
        check_rows(
            lm,
            task,
            rows=recipe.tasks.rows,
            seed=recipe.seed,
            max_tokens=longest_text(recipe, lm),
            prefix=lm.prefix,
        )
    if tasks and recipe.tasks.finetune:
        peft_library()


def inputs(context: Context) -> Inputs:
    """The tasks' rows and settings, and the selected units."""
    recipe, tasks = context.recipe, _tasks(context)
    settings = {
        **settings_of(recipe, "tasks"),
        "rows_of": {task.name: task.sha256 for task in tasks},
        "unit": recipe.effects.unit,
        "bootstrap": recipe.effects.bootstrap,
    }
    return Inputs(settings=settings, after=("features",))


def run(context: Context, progress: Progress) -> StageResults:
    """Set every task under every value, by the protocols that the recipe asks for."""
    tasks, edits = _tasks(context), _edits(context)
    rows: list[TaskScore] = []
    for number, task in context.share(enumerate(tasks)):
        own = part(progress, number / len(tasks), (number + 1) / len(tasks))
        rows += _scores(context, task, edits, str(number), own)
    folder = context.folder.path / "tasks"
    write_table(folder / "scores.parquet", as_rows(rows))
    write_json(folder / "sets.json", {task.name: _facts(task) for task in tasks})
    return StageResults(tasks=rows)


def _scores(
    context: Context, task: Task, edits: Sequence[Edit], name: str, progress: Progress
) -> list[TaskScore]:
    """A task by each protocol; each is a part of the stage, and `name` begins the parts' names."""
    recipe, settings = context.recipe, context.recipe.tasks
    lm, site, sae = context.lm, context.site, load_sae(context)
    shared: dict[str, Any] = {"name": context.target, "draws": recipe.effects.bootstrap, "seed": recipe.seed}
    text: dict[str, Any] = {
        "rows": settings.rows,
        "max_tokens": longest_text(recipe, lm),
        "prefix": context.lm.prefix,
        "budget": recipe.batch_tokens,
    }
    spliced = [edit for edit in edits if edit.splice]
    kept = [edit for edit in edits if not edit.splice]
    work: list[Callable[[Progress], list[TaskScore]]] = []
    if recipe.task_protocol != "as_coded":
        work.append(
            lambda done: controlled(lm, site, sae, task, edits, planted=True, **shared, **text, progress=done)
        )
    if recipe.task_protocol != "controlled":
        # the paper knows no other way than the splice
        coded = without_pre_encoder_bias(sae) if recipe.protocol == "as_coded" else sae
        work.append(lambda done: as_coded(lm, site, coded, task, spliced, **shared, progress=done))
    if settings.finetune:
        tuning = Tuning(epochs=settings.epochs, seeds=settings.seeds)
        work.append(
            lambda done: fine_tuned(lm, site, sae, task, kept, tuning=tuning, **shared, **text, progress=done)
        )
    found: list[TaskScore] = []
    for number, step in enumerate(work):
        own = part(progress, number / len(work), (number + 1) / len(work))
        found += context.parts["tasks"].rows(TaskScore, f"{name}-{number}", partial(step, own))
        own(1.0)
    return found


def _edits(context: Context) -> list[Edit]:
    """The splice without an edit, then every value, spliced and error-preserving; units that never fire have none."""
    wanted = context.recipe.tasks.values
    selected = selected_latents(context, wanted)
    chosen = [dose for dose in selected.doses if dose.value in wanted]
    return [Edit("none", splice=True)] + [
        Edit("set", selected.units, dose.targets, splice, dose.value)
        for splice in (True, False)
        for dose in chosen
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


def task_arms(settings: Tasks) -> int:
    """Arms of a controlled task: the model itself, the splice, each value both ways, and a planted effect."""
    return 3 + 2 * len(settings.values)


def cost(counts: Quantities) -> Work:
    """Every task under every edit: layers below the site once, those above it for each."""
    recipe, settings, shape, work = counts.recipe, counts.recipe.tasks, counts.shape, Work()
    arms = task_arms(settings)
    # while the layer is not chosen, it may be the first
    above = shape.layers if recipe.layer == "auto" else shape.layers - counts.depth

    def replayed(tokens: float, arms: int) -> Work:
        once = counts.forward(tokens, shape.layers) + counts.encode(tokens)
        return once + counts.forward(tokens * (arms - 1), above) if above else once

    tokens = float(settings.rows * ROW_TOKENS)
    fits = (FITS + 10 * arms) * 4 * settings.rows * shape.width * 3 * ITERATIONS
    if recipe.task_protocol != "as_coded":
        # what is planted is looked for in a pass of its own
        work += counts.forward(tokens, counts.depth)
        work += replayed(tokens, arms) + Work(float_flops=fits)
    if recipe.task_protocol != "controlled":
        work += replayed(float(CODED_ROWS * LONGEST), 2 + len(settings.values))
    if settings.finetune:
        trained = (1 + len(settings.values)) * settings.seeds
        # a backward pass costs two forward ones
        passes = trained * tokens * (3 * settings.epochs + 1)
        work += counts.forward(passes, shape.layers) + counts.encode(trained * tokens * settings.epochs)
    return sum([work] * len((settings.names or "").split()), Work())


def words(counts: Quantities) -> str:
    """How many tasks, rows, arms and protocols."""
    recipe, settings = counts.recipe, counts.recipe.tasks
    by = {"controlled": "as controlled", "as_coded": "as coded", "both": "as controlled and as coded"}
    return (
        f"{len((settings.names or '').split())} of up to {settings.rows:,} rows, "
        f"{task_arms(settings)} arms, {by[recipe.task_protocol]}"
        + (f"; fine-tuned {settings.seeds} times each" if settings.finetune else "")
    )


STAGE = Stage(
    name="tasks",
    does="setting downstream tasks",
    run=run,
    inputs=inputs,
    cost=cost,
    words=words,
    asked=lambda recipe: recipe.tasks.wanted,
    lower="batch_tokens, tasks.rows or max_tokens",
    sources=task_facts,
    prepare=prepare,
    check=check,
    cells=True,
)
