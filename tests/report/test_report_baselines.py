"""The verdict on what training adds."""

import pytest

from glossae.recipe import load_recipe
from glossae.report.reading import RunFiles
from glossae.report.sections.baselines import what_training_adds


def files(*adds, reason=None):
    rows = [
        {
            "what": what,
            "size": 4,
            "trained": 0.1,
            "untrained": 0.3,
            "difference": middle,
            "low": low,
            "high": high,
        }
        for what, middle, low, high in adds
    ]
    change = {code: {"delta": delta} for code, delta in (("da", 0.1), ("nb", 0.06), ("en", 0.0))}
    found = {
        "reason": reason,
        "adds": [*rows, {"what": "units", "size": None, "trained": [1], "untrained": [1]}],
        "autoencoders": [{"group": group, "passing": n} for group, n in (("trained", 15), ("untrained", 73))],
        "sets": [
            {"group": "trained", "seed": 0, "at": None, "size": 4, "nearest": "nb", "change": change},
        ],
    }
    return RunFiles(recipe=load_recipe("demo"), results={"baselines": found})


@pytest.mark.parametrize("interval", [(-0.2, -0.3, -0.1), (0.0, -0.1, 0.1)])
def test_where_nothing_is_added_the_verdict_says_so_first(interval):
    said = what_training_adds(files(("target", *interval), ("margin", 0.0, -0.1, 0.1)))
    assert said.startswith(
        "The layer tells Danish; the autoencoder adds nothing that an untrained one lacks: at no size "
    )
    assert ("In trained ones switching off four latents costs the target 0.200" in said) == (interval[2] < 0)
    assert "15 latents of the trained and 73 of untrained autoencoders pass the same test" in said
    assert "Norwegian Bokmål, +0.060" in said


def test_what_is_added_stands_beside_what_is_not():
    said = what_training_adds(files(("target", -0.2, -0.3, -0.1), ("margin", 0.05, 0.01, 0.09)))
    assert said.startswith(
        "Training adds to what the latents do: switching off four latents costs the target, less the nearest language, "
        "0.050"
    )
    assert " But switching off four latents costs the target 0.200 nats a token less" in said


def test_without_baselines_nothing_is_said():
    assert what_training_adds(RunFiles(recipe=load_recipe("demo"), results={})) == ""
    assert what_training_adds(files(reason="too little text")) == ""
