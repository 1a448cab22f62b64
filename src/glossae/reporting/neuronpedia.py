"""Units as Neuronpedia imports them: a `Feature` for each latent, and its `Activation`s, as gzipped JSON lines.

Fields, folders and the numbers of bins are those of Neuronpedia 2.0 (its database's schema, and the export of
SAEDashboard): `MODEL/SOURCE/features/batch-0.jsonl.gz`, where SOURCE is `LAYER-SET`.
"""

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError
from glossae.files import fingerprint, refuse_links, replacing
from glossae.reporting.wording import model_name
from glossae.results import UnitContext, UnitDashboard

# whom Neuronpedia's own bulk import names as the creator until somebody claims the source
CREATOR = "clkht01d40000jv08hvalcvly"
_SITES = {"resid": "res", "mlp.out": "mlp", "attn.out": "att", "mlp.hidden": "mlp-hidden"}
_HOOKS = {
    "resid": "hook_resid_post",
    "mlp.out": "hook_mlp_out",
    "attn.out": "hook_attn_out",
    "mlp.hidden": "mlp.hook_post",
}
# of contexts that are the best rather than drawn from an interval
_TOP = -1


def write_neuronpedia(units: Sequence[UnitDashboard], model: str, latents: int, out: Path) -> str:
    """Write the latents of a run for Neuronpedia; the same dashboards give the same bytes.

    Neurons and directions have no place in a source, and are left out.

    Args:
        units: the run's dashboards.
        model: the model as the recipe names it.
        latents: the number of the autoencoder's latents, which the set is named by.
        out: a folder that does not exist, is empty, or holds an earlier export.

    Returns:
        A line that says what was written.

    Raises:
        GlossaeError: there is no latent among the units, the model's name is none for a folder, or the folder
            holds something else.
    """
    own = [unit for unit in units if unit.kind == "latent"]
    if not own:
        raise GlossaeError("--to neuronpedia: the run shows no latent; run it with --dashboards.units 40")
    name = re.sub("[^a-z0-9._-]", "-", model_name(model).rpartition("/")[2].partition("@")[0].lower())
    if name in ("", ".", ".."):
        raise GlossaeError(f"--to neuronpedia: the model {model!a} has no name that a folder can have")
    collection = f"glossae-{_SITES[own[0].site]}-{latents}"
    source = f"{own[0].layer}-{collection}"
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= {name}):
        raise GlossaeError(f"--out: {out} is no folder, or holds something else; give another folder")
    refuse_links(out, (name,))
    place = out / name / source
    features = [_feature(unit, name, source, collection) for unit in own]
    activations = [row for unit in own for row in _activations(unit, name, source)]
    _write(place / "features" / "batch-0.jsonl.gz", features)
    _write(place / "activations" / "batch-0.jsonl.gz", activations)
    return f"{place}: Neuronpedia, {len(features)} features, {len(activations)} activations"


def _feature(unit: UnitDashboard, model: str, source: str, collection: str) -> dict[str, Any]:
    """A row of the table `Neuron`; what is not given has a default there."""
    tokens = sum(row.tokens for row in unit.density.values())
    fired = sum(row.rate * row.tokens for row in unit.density.values())
    bins = [sum(counts) for counts in zip(*unit.histogram.counts.values(), strict=True)]
    logits = unit.logits
    return {
        "modelId": model,
        "layer": source,
        "index": str(unit.unit),
        "sourceSetName": collection,
        "creatorId": CREATOR,
        "maxActApprox": max((row.largest for row in unit.density.values()), default=0.0),
        "hookName": f"blocks.{unit.layer}.{_HOOKS[unit.site]}",
        "topkCosSimIndices": [near.unit for near in unit.nearest],
        "topkCosSimValues": [near.cosine for near in unit.nearest],
        "neg_str": [token.token for token in logits.lowered] if logits else [],
        "neg_values": [token.value for token in logits.lowered] if logits else [],
        "pos_str": [token.token for token in logits.raised] if logits else [],
        "pos_values": [token.value for token in logits.raised] if logits else [],
        "frac_nonzero": fired / max(1, tokens),
        "freq_hist_data_bar_heights": [float(count) for count in bins],
        "freq_hist_data_bar_values": _middles(unit.histogram.edges),
        "logits_hist_data_bar_heights": [float(count) for count in logits.counts] if logits else [],
        "logits_hist_data_bar_values": _middles(logits.edges) if logits else [],
    }


def _activations(unit: UnitDashboard, model: str, source: str) -> Iterator[dict[str, Any]]:
    """Rows of the table `Activation`: the best contexts of all languages, then those of each interval."""
    largest = max((row.largest for row in unit.density.values()), default=0.0)
    best = sorted(
        (context for contexts in unit.contexts.values() for context in contexts),
        key=lambda context: -context.values[context.peak],
    )
    sentences = sum(row.sentences for row in unit.density.values())
    groups: list[tuple[float, float, float, Sequence[UnitContext]]] = [(_TOP, largest, _TOP, best)]
    groups += [
        (each.low, each.high, each.sentences / max(1, sentences), each.contexts)
        for each in reversed(unit.intervals)
    ]
    number = 0
    for low, high, share, contexts in groups:
        for context in contexts:
            yield {
                "id": f"c{fingerprint([model, source, unit.unit, number])}",
                "tokens": context.tokens,
                "modelId": model,
                "layer": source,
                "index": str(unit.unit),
                "dataSource": context.source,
                "creatorId": CREATOR,
                "maxValue": context.values[context.peak],
                "maxValueTokenIndex": context.peak,
                "minValue": min(context.values),
                "values": context.values,
                "binMin": low,
                "binMax": high,
                "binContains": share,
                "qualifyingTokenIndex": context.peak,
            }
            number += 1


def _middles(edges: Sequence[float]) -> list[float]:
    return [(low + high) / 2 for low, high in pairwise(edges)]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    with replacing(path) as temporary:
        # without a time, so that the same rows give the same bytes; a lone surrogate is no UTF-8
        temporary.write_bytes(gzip.compress(text.encode("utf-8", "replace"), mtime=0))
