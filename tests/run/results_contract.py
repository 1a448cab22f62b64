"""The contract of results.json: which keys there are, and what may stand in them."""

import math
from typing import Any

NUMBER = (int, float)
PER_LANGUAGE = {str: NUMBER}
PER_LANGUAGE_OR_NULL = {str: (int, float, None)}
COUNTS = {str: int}

UNIT = {
    "unit": int,
    "kind": str,
    "rate": PER_LANGUAGE,
    "mean": PER_LANGUAGE,
    "mean_active": PER_LANGUAGE_OR_NULL,
    "token_auroc": NUMBER,
    "sentence_auroc": (int, float, None),
    "q_value": (int, float, None),
}

CORPORA = [
    {
        "role": str,
        "name": str,
        "language": str,
        "sentences": int,
        "tokens": int,
        "dropped": COUNTS,
        "sha256": str,
    }
]

PROBE = {
    "site": str,
    "best_layer": int,
    "rule": str,
    "cells": [
        {
            "model": str,
            "layer": int,
            "lambda": NUMBER,
            "seed": int,
            "accuracy": NUMBER,
            "accuracy_se": NUMBER,
            "bce": NUMBER,
            "norm": NUMBER,
            "collapsed": bool,
            "critical_lambda": NUMBER,
            "tokens": int,
            "standardised": bool,
        }
    ],
    "layers": [
        {
            "model": str,
            "layer": int,
            "bce": NUMBER,
            "bce_se": NUMBER,
            "bce_sd": (int, float, None),
            "critical_lambda": NUMBER,
        }
    ],
    "agreement": [
        {
            "model": str,
            "scores": str,
            "lambda": (int, float, None),
            "spearman": (int, float, None),
            "seeds": int,
        }
    ],
    "as_coded": None,
    "pair": {"layer": int, "rule": str},
    "nearest": None,
    "only_pair": (str, None),
}

SEPARATION = {
    "nearest": str,
    "auroc": NUMBER,
    "se": NUMBER,
    "se_seeds": (float, None),
    "low": NUMBER,
    "high": NUMBER,
    "by_language": PER_LANGUAGE,
}

NEAREST = {
    "role": str,
    "source": (str, None),
    "sentences": COUNTS,
    "seeds": int,
    "minimum": NUMBER,
    "rows": [{"layer": int, "difference": SEPARATION, "probe": SEPARATION, "score": NUMBER, "se": NUMBER}],
    "candidates": [int],
    "trials": [
        {
            "layer": int,
            "latents": int,
            "k": int,
            "fvu": NUMBER,
            "found": int,
            "best_latent": int,
            "best_auroc": NUMBER,
        }
    ],
    "train_tokens": int,
    "chosen": int,
    "rule": str,
}
"""`probe.nearest`, where there is text in a third language."""

AS_CODED = [
    {
        "model": str,
        "layer": int,
        "lambda": NUMBER,
        "accuracy": NUMBER,
        "accuracy_low": NUMBER,
        "accuracy_high": NUMBER,
        "accuracy_se": NUMBER,
        "bce": NUMBER,
        "norm": NUMBER,
        "optimum_norm": NUMBER,
        "critical_lambda": NUMBER,
        "collapsed": bool,
        "constant": NUMBER,
        "batches": int,
        "seeds": int,
    }
]
"""`probe.as_coded`, where the recipe asks for it."""

GRID = {
    "cells": [
        {
            "activation": str,
            "tied": bool,
            "pre_encoder_bias": bool,
            "k": (int, None),
            "l1": (float, None),
            "mse": NUMBER,
            "l0": NUMBER,
            "active_per_batch": NUMBER,
            "fvu": PER_LANGUAGE,
            "l0_select": NUMBER,
            "dead_fraction": NUMBER,
        }
    ],
    "pareto": [{"measures": [str], "among": str, "cells": [int]}],
    "chosen": {"cell": (int, None), "rule": str, "reason": str},
    "model": str,
    "site": str,
    "layer": int,
    "d_in": int,
    "latents": int,
    "train_tokens": int,
    "tokens": int,
}

SAE = {
    "site": str,
    "layer": int,
    "d_in": int,
    "latents": int,
    "activation": str,
    "k": int,
    "tokens": int,
    "l0": NUMBER,
    "dead_fraction": NUMBER,
    "fvu": PER_LANGUAGE,
    "fvu_within": PER_LANGUAGE,
    "fvu_normalised": PER_LANGUAGE,
    "top_direction": NUMBER,
    "top_tokens": NUMBER,
    "unsound": list,
    "sinks": {
        str: {
            "raw": NUMBER,
            "spliced": NUMBER,
            "left_alone": NUMBER,
            "half_width": (int, float, None),
            "sentences": int,
            "tokens": int,
        }
    },
    "ce": {
        str: {
            "raw": NUMBER,
            "spliced": NUMBER,
            "ablated": NUMBER,
            "recovered": (int, float, None),
            "sentences": int,
            "tokens": int,
            "half_width": (int, float, None),
        }
    },
}

STABILITY = {
    "reason": None,
    "same": NUMBER,
    "claim": str,
    "role": str,
    "tokens": int,
    "found": int,
    "of": int,
    "seeds": [
        {
            "seed": int,
            "found": int,
            "of": int,
            "firing": {"of": int, **dict.fromkeys(("cosine", "correlation", "both"), NUMBER)},
            "selected": {
                "of": int,
                **dict.fromkeys(
                    (
                        "cosine",
                        "correlation",
                        "both",
                        "one_to_one",
                        "partner_found",
                        "correlate_found",
                        "again_and_found",
                    ),
                    (int, float, None),
                ),
            },
        }
    ],
    "units": [
        {
            "unit": int,
            "label": str,
            "seeds": [
                {
                    "seed": int,
                    "again": bool,
                    "partner": int,
                    "partner_cosine": NUMBER,
                    "partner_correlation": NUMBER,
                    "partner_found": bool,
                    "correlate": int,
                    "correlate_cosine": NUMBER,
                    "correlate_correlation": NUMBER,
                    "correlate_found": bool,
                }
            ],
        }
    ],
}
"""`stability`, where the recipe asks for seeds and units were found."""


def contract(target: str) -> dict[str, Any]:
    """What results.json holds after a whole run; a stage that was not run is null instead."""
    return {
        "recipe": str,
        "protocol": str,
        "model": str,
        "seed": int,
        "schema_version": int,
        "corpora": CORPORA,
        "probe": PROBE,
        "grid": None,
        "sae": SAE,
        "evidence": {"reason": (str, None)},
        "stability": None,
        "features": {"rule": str, target: [UNIT]},
        "published": None,
    }


def breaches(value: Any, kind: Any, where: str = "results") -> list[str]:
    """Where `value` departs from `kind`; more keys than the contract's are allowed inside a section.

    `[kind]` is a list with something in it, `[kind, None]` one that may be empty; `({...}, None)` is a mapping or null.
    """
    match kind:
        case None:
            return [] if value is None else [f"{where}: {value!r} where null belongs"]
        case (dict() as mapping, None) if isinstance(kind, tuple):
            return [] if value is None else breaches(value, mapping, where)
        case [element, *empty] if isinstance(kind, list):
            if not isinstance(value, list) or not (value or empty):
                return [f"{where}: no list{'' if empty else ' with something in it'}"]
            return [b for n, row in enumerate(value) for b in breaches(row, element, f"{where}[{n}]")]
        case dict() if str in kind:
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                return [f"{where}: no mapping"]
            return [b for key, inner in value.items() for b in breaches(inner, kind[str], f"{where}.{key}")]
        case dict():
            if not isinstance(value, dict):
                return [f"{where}: no mapping"]
            lacking = [f"{where}.{key}: is missing" for key in kind if key not in value]
            return lacking + [
                b for key in kind if key in value for b in breaches(value[key], kind[key], f"{where}.{key}")
            ]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if value is None:
        fits = None in kinds
    elif isinstance(value, bool):
        fits = bool in kinds
    else:
        fits = isinstance(value, tuple(k for k in kinds if k is not None and k is not bool))
    if fits and isinstance(value, float):
        fits = math.isfinite(value)
    return [] if fits else [f"{where}: {value!r} is not {kind}"]
