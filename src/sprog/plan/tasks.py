"""What downstream tasks cost."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from sprog.plan.models import Shape
from sprog.plan.work import Work
from sprog.recipe import Recipe, Tasks

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
