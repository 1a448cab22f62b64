"""The run's own test of units: what passes on the half of the panel that is searched, frozen."""

from collections.abc import Callable
from pathlib import Path

from sprog.features import SentenceTable, passages, testing
from sprog.run.context import Context


def find_and_freeze(
    context: Context,
    table: SentenceTable,
    path: Path,
    *,
    text: str,
    permutations: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[testing.Evidence, testing.FrozenSet]:
    """Test every claim on a table by the recipe's settings, and write down what passes as the target's.

    Args:
        context: the run.
        table: the units on the text that is searched, sentence by sentence.
        path: of the frozen set; what was frozen there before is another try's, and gone.
        text: that text's hash.
        permutations: draws, as in `testing.test_units`.
        progress: is told the share that is done.
    """
    settings = context.recipe.evidence
    evidence = testing.test_units(
        passages(table, settings.tokens),
        context.target,
        minimum=settings.minimum,
        q=settings.q,
        method=settings.method,
        permutations=permutations,
        seed=context.recipe.seed,
        reference=context.reference,
        within="all",
        progress=progress,
    )
    path.unlink(missing_ok=True)
    # frozen, with a hash of what was found and on which text, before any other text is opened
    return evidence, testing.freeze(evidence, evidence.claims[0].claim.name, path, text=text)
