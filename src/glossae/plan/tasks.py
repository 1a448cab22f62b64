"""Where the labelled sets of downstream tasks are, and what the tasks cost."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.plan.at_hand import folder_bytes, hub_data_set
from glossae.plan.models import Shape
from glossae.plan.texts import SourceFacts
from glossae.plan.work import Work
from glossae.recipe import Recipe, Tasks
from glossae.text import HubDataSet, TaskSource, parse_source, split_tasks

# tokens of a row, and of the longest of two thousand, in the paper's three tasks
ROW_TOKENS, LONGEST = 45, 190
# rows of a task that the paper's code takes
CODED_ROWS = 2000
# a regression's solver goes over its rows so often; each is fitted on several folds, and some on several splits
ITERATIONS, FITS = 200, 30


@runtime_checkable
class Forward(Protocol):
    """Passes over tokens through some blocks (`Counting.forward`)."""

    def __call__(self, shape: Shape, tokens: float, depth: int, *, output: bool) -> Work:
        """The work of it."""


def task_facts(recipe: Recipe) -> list[SourceFacts]:
    """The labelled sets that the recipe's tasks read, in their order.

    Raises:
        GlossaeError: a task is not understood, or a file of it is not there.
    """
    try:
        return [_facts(task) for task in split_tasks(recipe.tasks.names or "")]
    except GlossaeError as error:
        raise GlossaeError(f"tasks.names: {error}") from error


def _facts(task: TaskSource) -> SourceFacts:
    scheme, _, rest = task.source.partition(":")
    note = f"task {task.name}"
    if scheme == "hub":
        source = parse_source(task.source)
        folder = hub_data_set(source.repository.name) if isinstance(source, HubDataSet) else None
        return SourceFacts(task.source, "net" if folder is None else "cache", None, None, note)
    if scheme == "toy":
        return SourceFacts(task.source, "file", 0, None, note)
    paths = [path_named(part) for part in (rest.split(",") if scheme == "scala" else [task.source]) if part]
    for path in paths:
        if not path.exists():
            raise GlossaeError(f"{path}: no such file or folder")
    size = sum(folder_bytes(path) if path.is_dir() else path.stat().st_size for path in paths)
    return SourceFacts(task.source, "file", size, None, note)


def task_arms(settings: Tasks) -> int:
    """Arms of a controlled task: the model itself, the splice, each value both ways, and a planted effect."""
    return 3 + 2 * len(settings.values)


def tasks_work(
    recipe: Recipe, shape: Shape, depth: int, forward: Forward, encode: Callable[[float], Work]
) -> Work:
    """All of the recipe's tasks.

    Args:
        recipe: the run's.
        shape: its model's.
        depth: blocks up to the site.
        forward: the work of a pass.
        encode: that of the autoencoder's encoder.
    """
    settings, work = recipe.tasks, Work()
    arms = task_arms(settings)
    # while the layer is not chosen, it may be the first
    above = shape.layers if recipe.layer == "auto" else shape.layers - depth

    def replayed(tokens: float, arms: int) -> Work:
        once = forward(shape, tokens, shape.layers, output=False) + encode(tokens)
        return once + forward(shape, tokens * (arms - 1), above, output=False) if above else once

    tokens = float(settings.rows * ROW_TOKENS)
    fits = (FITS + 10 * arms) * 4 * settings.rows * shape.width * 3 * ITERATIONS
    if recipe.task_protocol != "as_coded":
        # what is planted is looked for in a pass of its own
        work += forward(shape, tokens, depth, output=False)
        work += replayed(tokens, arms) + Work(float_flops=fits)
    if recipe.task_protocol != "controlled":
        work += replayed(float(CODED_ROWS * LONGEST), 2 + len(settings.values))
    if settings.finetune:
        trained = (1 + len(settings.values)) * settings.seeds
        # a backward pass costs two forward ones
        passes = trained * tokens * (3 * settings.epochs + 1)
        work += forward(shape, passes, shape.layers, output=False) + encode(
            trained * tokens * settings.epochs
        )
    total = Work()
    for _ in (settings.names or "").split():
        total += work
    return total
