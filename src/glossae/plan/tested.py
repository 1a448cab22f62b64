"""Which languages a run cannot test units against, since they have too few sentences."""

from collections.abc import Iterator

from glossae.plan.quantities import Quantities
from glossae.plan.texts import Amounts
from glossae.plan.wording import count_text


def too_few_words(role: str, language: str, sentences: float, *, units: int, minimum: float, q: float) -> str:
    """`panel: 12 sentences of nb are too few for a test of 4,096 units at q 0.05, which takes at least 102`.

    Args:
        role: the text that is halved; units are searched on one half, and looked at again on the other.
        language: its code.
        sentences: how many it has.
        units: how many are tested together.
        minimum: the AUROC that a unit has to exceed.
        q: the rate of false discoveries.
    """
    counted = f"{sentences:,}" if isinstance(sentences, int) else count_text(sentences)
    least = least_sentences(units, minimum, q)
    return (
        f"{role}: {counted} sentences of {language} are too few for a test of {units:,} units at q {q:g}, which takes "
        f"at least {least:,} ({2 * least:,} where they are translations of the others)"
    )


def least_sentences(units: int, minimum: float, q: float) -> int:
    """The fewest sentences of a language, in both halves together, with which a unit can pass; without translations."""
    # scipy is heavy, and `glossae doctor` uses this room too
    from glossae.find import testing

    return 2 * testing.comparisons_needed(units, minimum, q)


def untested_lines(counts: Quantities) -> Iterator[str]:
    """A line for each language that has too few sentences for a test, or one that says that nothing can be tested."""
    settings = counts.recipe.evidence
    role = "panel" if "panel" in counts.roles else "select"
    amounts: Amounts = counts.roles[role]
    units = max(counts.latents, counts.coordinates)
    least = least_sentences(units, settings.minimum, settings.q)

    def words(code: str) -> str:
        return too_few_words(
            role, code, amounts[code].sentences, units=units, minimum=settings.minimum, q=settings.q
        )

    short = [code for code, amount in amounts.items() if amount.sentences < least]
    whole = [code for code in short if code in counts.pair]
    if whole:
        yield f"{words(whole[0])}: no unit can be tested"
        return
    yield from (f"{words(code)}: not tested against {code}" for code in short)
