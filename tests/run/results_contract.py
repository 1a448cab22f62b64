"""The contract of results.json: which keys there are, and what may stand in them."""

import math
from typing import Any

NUMBER = (int, float)
PER_LANGUAGE = {str: NUMBER}

BASELINES = {
    "reason": None,
    "minimum": NUMBER,
    "q": NUMBER,
    "claim": str,
    "outside": [str],
    "autoencoders": [
        {
            "group": str,
            "seed": int,
            "units": int,
            "passing": int,
            "paper": (int, None),
            "fvu": (PER_LANGUAGE, None),
            "best": str,
            "weakest": NUMBER,
            "again": {str: {"best": NUMBER, "above": int, "of": int, "auroc": {str: NUMBER}}},
            "stable": (float, None),
        }
    ],
    "sets": [
        {
            "group": str,
            "seed": int,
            "size": int,
            "members": [int, None],
            "dose": (float, None),
            "at": (float, None),
            "change": {str: dict.fromkeys(("delta", "low", "high", "per_byte"), NUMBER)},
            "nearest": (str, None),
        }
    ],
    "measured": {str: {"sentences": int, "tokens": int, "bytes": int, "loss": NUMBER}},
    # numbers; of how many units it takes, a list over seeds
    "adds": [
        {"what": str, "size": (int, None), **dict.fromkeys(("trained", "untrained"), (int, float, list))}
    ],
}
"""`baselines`, where the recipe asks for the stage and the text is enough for its test."""

NEXT_TOKEN = {
    "cells": [
        {
            "units": str,
            "kind": str,
            "edit": str,
            "splice": (bool, None),
            "value": (int, float, None),
            "language": str,
            "source": str,
            "ce": NUMBER,
            "ce_per_byte": NUMBER,
            "delta": NUMBER,
            "ci_low": NUMBER,
            "ci_high": NUMBER,
            "tokens": int,
            "sentences": int,
        }
    ],
    "selectivity": [
        {
            "units": str,
            "kind": str,
            "edit": str,
            "at": NUMBER,
            "versus": str,
            **dict.fromkeys(
                [
                    f"{name}{unit}{end}"
                    for unit in ("_per_byte", "")
                    for name, ends in {
                        "target_delta": ("",),
                        "other_delta": ("",),
                        "margin": ("", "_low", "_high"),
                        "ratio": ("", "_low", "_high", "_least"),
                    }.items()
                    for end in ends
                ],
                (int, float, None),
            ),
        }
    ],
    # empty where no language has sentences enough
    "serial_correlation": [
        {
            "text": str,
            "source": str,
            "language": str,
            "statistic": str,
            "edit": (str, None),
            "sentences": int,
            **dict.fromkeys(("lag_1", "p", "q", "inflation"), NUMBER),
        },
        None,
    ],
    "chosen": [
        {
            "units": str,
            "language": str,
            "seed": (int, None),
            "asked": str,
            "rule": str,
            "passing": (int, None),
            "of": int,
            "text": str,
        },
        # none where no other latents are measured
        None,
    ],
    "controls": None,
}

GENERATION = [
    {"prompt": str, "language": str, "units": str, "edit": str, "value": (int, float, None), "text": str}
]

INTERVALS = ("success", "repetition", "loss")
STEERING = {
    "arms": [
        {
            "family": str,
            "kind": (str, None),
            "operation": (str, None),
            "units": int,
            "value": (float, None),
            "at": (float, None),
            "kl": NUMBER,
            "kl_low": NUMBER,
            "kl_high": NUMBER,
            "agreement": NUMBER,
            **{f"{name}{end}": (float, None) for name in INTERVALS for end in ("", "_low", "_high")},
            "distinct_1": (float, None),
            "distinct_2": (float, None),
            "tokens": NUMBER,
            "shares": {"ngrams": PER_LANGUAGE},
            "on_front": bool,
        }
    ],
    "families": [{"family": str, "kind": str, "operation": str, "units": [str]}],
    "prompts": {"paper": int, "test": int, "tokens": int},
    "kl_text": {"sentences": int, "tokens": int},
    "identifiers": {"ngrams": [str]},
    "examples": [
        {
            "prompt": str,
            "family": str,
            "value": (float, None),
            "at": (float, None),
            "text": str,
            "language": (str, None),
        }
    ],
}
"""`steering`, where prompts are asked for."""


def contract(target: str) -> dict[str, Any]:
    """What results.json holds after a whole run; a stage that was not run is null instead."""
    return {
        "recipe": str,
        "protocol": str,
        "model": str,
        "seed": int,
        "schema_version": int,
        "baselines": None,
        "next_token": NEXT_TOKEN,
        "generation": GENERATION,
        "tasks": None,
        "steering": None,
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
