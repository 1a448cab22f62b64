"""The text of a run on which units are tested."""

import functools
from collections.abc import Iterator

from glossae.corpora import Corpus
from glossae.errors import GlossaeError
from glossae.evidence import Panel, panels
from glossae.plan import Quantities, too_few_message
from glossae.plan.quantities import least_sentences
from glossae.run.context import Context, longest_text
from glossae.stages.shared.units import evidence_settings


def tested_panel(context: Context) -> Panel:
    """The panel of a run: what `corpora.panel` names, or the largest source of `select` that has the pair.

    Raises:
        GlossaeError: one language's text is another's too, or no text is left.
    """
    return _panel(context, *panel_text(context))


def replication_panel(context: Context) -> Panel | None:
    """What `corpora.replicate` names, all of it held out."""
    if "replicate" not in context.roles.corpora:
        return None
    return _panel(context, "replicate", None, context.roles.corpora["replicate"], halves=False)


def _panel(context: Context, role: str, source: str | None, corpus: Corpus, *, halves: bool = True) -> Panel:
    return panels.make_panel(
        context.lm,
        corpus,
        evidence_settings(context),
        role=role,
        source=source,
        units=tested_units(context),
        max_tokens=longest_text(context.recipe, context.lm),
        halves=halves,
    )


def panel_text(context: Context) -> tuple[str, str | None, Corpus]:
    """The role that units are tested on, the one source of it that is taken, and its sentences.

    Raises:
        GlossaeError: no source of `select` has the pair.
    """
    if "panel" in context.roles.corpora:
        return "panel", None, context.roles.corpora["panel"]
    select = context.roles.corpora["select"]
    of_source = {source: select.of_source(source) for source in select.sources}
    whole = {
        source: corpus
        for source, corpus in of_source.items()
        if {context.target, context.reference} <= set(corpus.languages)
    }
    if not whole:
        raise GlossaeError(
            f"corpora.panel: no source of select has both {context.target} and {context.reference}: name text of "
            "one kind in every language"
        )
    source = max(whole, key=lambda name: len(whole[name]))
    return "select", source, whole[source]


def too_small(context: Context) -> list[str]:
    """One line for each language of the panel that has too few sentences for a test; said before any work.

    Nothing is said of `select`, on which units are tested where no panel is given, unless the run takes tested units.

    Raises:
        GlossaeError: the target or the reference has too few sentences, so that no unit could be tested.
    """
    recipe = context.recipe
    if "panel" not in context.roles.corpora and recipe.features.rule != "tested":
        return []
    role, _, corpus = panel_text(context)
    settings, units = recipe.evidence, tested_units(context)
    found_on, _ = panels.found_and_held_out(panels.plain_text(role, corpus)[0], recipe.seed)
    carried = panels.carried_by(found_on, evidence_settings(context), units)
    words = functools.partial(too_few_message, role, units=units, minimum=settings.minimum, q=settings.q)
    if not carried:
        counts = {code: len(corpus.only(code)) for code in (context.target, context.reference)}
        least = min(counts, key=lambda code: counts[code])
        raise GlossaeError(f"corpora.{words(least, counts[least])}: no unit can be tested")
    return [
        f"{words(code, len(corpus.only(code)))}: not tested against {code}"
        for code in corpus.languages
        if code not in carried
    ]


def tested_units(context: Context) -> int:
    """The units that are tested together: latents, or the site's coordinates where those are more."""
    recipe, width = context.recipe, context.lm.widths[context.recipe.site]
    given = context.given
    latents = recipe.sae.latents or (recipe.sae.expansion or 1) * width
    coordinates = width if recipe.site == "mlp.hidden" else 2 * width
    return max(latents if given is None else given.sae.config.latents, coordinates)


def untested_lines(counts: Quantities) -> Iterator[str]:
    """A line for each language that has too few sentences for a test, or one that says that nothing can be tested."""
    settings = counts.recipe.evidence
    role, amounts = "panel" if "panel" in counts.roles else "select", counts.panel
    units = max(counts.latents, counts.coordinates)
    least = least_sentences(units, settings.minimum, settings.q)

    def words(code: str) -> str:
        return too_few_message(
            role, code, amounts[code].sentences, units=units, minimum=settings.minimum, q=settings.q
        )

    short = [code for code, amount in amounts.items() if amount.sentences < least]
    whole = [code for code in short if code in counts.pair]
    if whole:
        yield f"{words(whole[0])}: no unit can be tested"
        return
    yield from (f"{words(code)}: not tested against {code}" for code in short)
