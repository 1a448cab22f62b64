"""Whether found units tell the language or the source: compared within one source, and one language over sources."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from glossae.errors import GlossaeError
from glossae.find import testing
from glossae.run.evidence_rows import Again, Tested
from glossae.units import SentenceTable

# sentences on either side of a comparison, at least
LEAST = 20


def within_source(tested: Sequence[Tested], again: Sequence[Again]) -> dict[str, Any]:
    """The check for sources as confounders, on text that no unit was selected on.

    `apart` says of each text whether its languages come from different sources (`testing.check_panel`), in which case
    what tells them apart may be the source. `rows` has, for every frozen set: the target against each other language
    inside every source that has both; and the target's sentences of one source against those of another, which a unit
    of the language ranks at .5.
    """
    apart = []
    for place in again:
        table = place.tables[tested[0].units.kind]
        try:
            testing.check_panel(table)
            reason = None
        except GlossaeError as error:
            reason = str(error).partition(": test a table")[0]
        apart.append({"on": place.on, "reason": reason})
    rows = []
    for family in tested:
        kind, frozen = family.units.kind, family.frozen
        if not frozen.units:
            continue
        table = SentenceTable.join([place.tables[kind] for place in again]).columns(frozen.units)
        target, minimum = frozen.target, family.evidence.minimum
        sources = list(dict.fromkeys(table.sources.tolist()))
        for source in sources:
            own = table.take(np.flatnonzero(table.sources == source))
            for other in own.present:
                if other != target and target in own.present:
                    rows += _row(
                        own, (target, other), minimum, {"kind": kind, "source": source, "versus": other}
                    )
        of_target = table.take(table.rows(target))
        by_source = replace(of_target, languages=of_target.sources)
        for pair in combinations(sources, 2):
            rows += _row(by_source, pair, minimum, {"kind": kind, "source": pair[0], "versus": None}, pair[1])
    return {"apart": apart, "rows": rows}


def _row(
    table: SentenceTable,
    pair: tuple[str, str],
    minimum: float,
    names: dict[str, Any],
    other_source: str | None = None,
) -> list[dict[str, Any]]:
    sizes = [len(table.rows(name)) for name in pair]
    if min(sizes) < LEAST:
        return []
    chosen = table.take(np.concatenate([table.rows(name) for name in pair]))
    auroc: Float[np.ndarray, " units"] = testing.auroc_table(chosen).of(*pair)
    # a source may fire a unit more, or less
    strong = auroc if other_source is None else np.maximum(auroc, 1 - auroc)
    return [
        {
            **names,
            "other_source": other_source,
            "sentences": sizes,
            "units": len(auroc),
            "least": float(auroc.min()),
            "median": float(np.median(auroc)),
            "most": float(auroc.max()),
            "told": int((strong >= minimum).sum()),
        }
    ]
