"""What switching sets of units off costs, and trained less untrained: what training adds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from glossae.effects import Switched, UnitSet
from glossae.run.baseline_sets import TRAINED, UNTRAINED
from glossae.run.context import Context
from glossae.run.tables import write_table
from glossae.stats import interval

# the autoencoders that training is judged by
LEARNT = (TRAINED, UNTRAINED)
# of all the damage that sets do, the share that "carries" it
CARRIED = 0.9

Samples = dict[str, Float[np.ndarray, "draws sets"]]
"""By language, the mean change by set in each resample."""


def added_by_training(context: Context, sets: Sequence[UnitSet], switched: Switched) -> dict[str, Any]:
    """What each set costs each language, on how much text, and what the trained ones cost more than the untrained.

    The change of every sentence's loss under every set is written to `baselines/losses.parquet`.
    """
    _write_losses(context, sets, switched)
    draws, seed = context.recipe.effects.bootstrap, context.recipe.seed
    samples = {
        code: switched.resampled(code, draws=draws, seed=seed) for code in switched.tokens.corpus.languages
    }
    return {
        "sets": _set_rows(context, sets, switched, samples),
        "measured": _measured(switched),
        "adds": _adds(context, sets, switched, samples),
    }


def _write_losses(context: Context, sets: Sequence[UnitSet], switched: Switched) -> None:
    """Every set's change of every measured sentence's loss, so that any other statistic can be computed from it."""
    sentences = switched.tokens.corpus.sentences
    rows = [
        {
            "group": each.group,
            "seed": each.seed,
            "size": each.size,
            "dose": each.dose,
            "at": each.at,
            "language": sentence.language,
            "source": sentence.source,
            "pair": sentence.pair,
            "tokens": int(tokens),
            "bytes": int(size),
            "loss": float(raw),
            "change": float(change),
        }
        for each, changes, used in zip(sets, switched.change, switched.used, strict=True)
        for sentence, tokens, size, raw, change, measured in zip(
            sentences,
            switched.tokens.predicted,
            switched.tokens.predicted_bytes,
            switched.raw,
            changes,
            used,
            strict=True,
        )
        if measured
    ]
    write_table(context.folder.path / "baselines" / "losses.parquet", rows)


def _measured(switched: Switched) -> dict[str, Any]:
    """How much text the changes were measured on, and what its loss is."""
    found = {}
    for code in switched.tokens.corpus.languages:
        rows = switched.rows(code)
        predicted = switched.tokens.predicted[rows].sum()
        found[code] = {
            "sentences": len(rows),
            "tokens": int(predicted),
            "bytes": int(switched.tokens.predicted_bytes[rows].sum()),
            "loss": float(switched.raw[rows].sum() / predicted),
        }
    return found


def _set_rows(
    context: Context, sets: Sequence[UnitSet], switched: Switched, samples: Samples
) -> list[dict[str, Any]]:
    """What each set costs each language, nats a token and a byte, with 95 % intervals over sentences."""
    languages = list(samples)
    mean = {code: switched.mean(code) for code in languages}
    sentences = {code: switched.sentences(code) for code in languages}
    per_byte = {code: switched.per_byte(code) for code in languages}
    rows = []
    for number, each in enumerate(sets):
        change = {}
        for code in languages:
            low, high = interval(samples[code][:, number])
            change[code] = {
                "delta": float(mean[code][number]),
                "low": low,
                "high": high,
                "per_byte": float(per_byte[code][number]),
                "sentences": int(sentences[code][number]),
            }
        others = {code: change[code]["delta"] for code in languages if code != context.target}
        nearest = max(others, key=lambda code: others[code]) if others else None
        rows.append(
            {
                "group": each.group,
                "seed": each.seed,
                "size": each.size,
                "members": list(each.members),
                "dose": each.dose,
                "at": each.at,
                "change": change,
                "nearest": nearest,
            }
        )
    return rows


def _adds(
    context: Context, sets: Sequence[UnitSet], switched: Switched, samples: Samples
) -> list[dict[str, Any]]:
    """Trained less untrained, size by size: with intervals over sentences and, resampled with them, over seeds.

    `target`: what switching off costs the target. `margin`: that less what it costs the nearest other language, found
    anew in every resample. `units`: how many units carry 90 % of what the largest set does to the target.
    """
    draws, target = context.recipe.effects.bootstrap, context.target
    others = [code for code in samples if code != target]
    point = {code: switched.mean(code)[None] for code in samples}
    generator = np.random.default_rng([context.recipe.seed, 1])
    rows = []
    for size in sorted({each.size for each in sets if each.group in LEARNT and each.at is None}):
        numbers = {
            group: [
                n for n, each in enumerate(sets) if (each.group, each.size, each.at) == (group, size, None)
            ]
            for group in LEARNT
        }
        if not all(numbers.values()):
            continue
        drawn = {group: generator.choice(own, (draws, len(own))) for group, own in numbers.items()}
        for what in ("target", "margin"):
            values, spread = {}, {}
            for group, own in numbers.items():
                values[group] = float(_statistic(what, point, target, others)[0, own].mean())
                every = _statistic(what, samples, target, others)
                spread[group] = np.take_along_axis(every, drawn[group], axis=1).mean(1)
            low, high = interval(spread[TRAINED] - spread[UNTRAINED])
            rows.append(
                {
                    "what": what,
                    "size": size,
                    "trained": values[TRAINED],
                    "untrained": values[UNTRAINED],
                    "difference": values[TRAINED] - values[UNTRAINED],
                    "low": low,
                    "high": high,
                    "seeds": [len(numbers[group]) for group in LEARNT],
                }
            )
    rows.append(_carrying(sets, point[target][0]))
    return rows


def _statistic(
    what: str, changes: Samples, target: str, others: Sequence[str]
) -> Float[np.ndarray, "draws sets"]:
    if what == "target" or not others:
        return changes[target]
    nearest = np.max([changes[code] for code in others], axis=0)
    margin: Float[np.ndarray, "draws sets"] = changes[target] - nearest
    return margin


def _carrying(sets: Sequence[UnitSet], damage: Float[np.ndarray, " sets"]) -> dict[str, Any]:
    """The smallest of the measured sizes that does 90 % of what the largest set does to the target, seed by seed."""
    needed: dict[str, list[int]] = {group: [] for group in LEARNT}
    for group, seed in dict.fromkeys((s.group, s.seed) for s in sets if s.group in LEARNT and s.at is None):
        own = {
            each.size: damage[n]
            for n, each in enumerate(sets)
            if (each.group, each.seed, each.at) == (group, seed, None)
        }
        # a largest set that does no damage carries itself
        least = min(CARRIED * own[max(own)], own[max(own)])
        needed[group].append(min(size for size, value in own.items() if value >= least))
    return {"what": "units", "size": None, **{group: needed[group] for group in LEARNT}}
