"""What training adds, by the functions that a notebook calls: no run, no folder."""

import numpy as np
import pytest

from effects_sae import SITE, D, random_sae
from glossae.effects import baselines, switch_off
from glossae.evidence import testing
from glossae.units import Latents, Neurons, collect_all


@pytest.fixture(scope="module")
def searched(tiny_lm, tiny_tokens):
    """Three groups by one rule, their tables, and the coordinates' statistics."""
    groups = [
        ("trained", 0, Latents(random_sae())),
        ("untrained", 0, Latents(random_sae(k=12))),
        ("coordinates", 0, Neurons(SITE, D)),
    ]
    collected = collect_all(tiny_lm, SITE, [units for *_, units in groups], tiny_tokens)
    statistics, tables = zip(*collected, strict=True)
    evidence = [testing.units_evidence(table, "da", minimum=0.5, within="all") for table in tables]
    pair = {"target": "da", "reference": "en"}
    found = baselines.ranked(groups, statistics, evidence, "Danish", **pair, most=3)
    return found, tables, statistics[-1]


def test_units_of_every_group_are_ordered_and_looked_at_again(searched):
    found, tables, _ = searched
    told = [
        baselines.told_again(each, table, "da", ["en"], 0.5, tokens=1)
        for each, table in zip(found, tables, strict=True)
    ]
    rows = baselines.found_units(found, {"held_out": told}, [{"da": 0.5}, {"da": 0.6}, None])
    assert [(row.group, row.units, row.paper is None) for row in rows] == [
        ("trained", 40, False),
        ("untrained", 40, False),
        ("coordinates", D, True),
    ]
    for each, row in zip(found, rows, strict=True):
        assert row.weakest == each.weakest.max()
        assert [each.weakest[unit] for unit in each.order] == sorted(each.weakest, reverse=True)[:3]
        assert row.again["held_out"].of == 3


def test_sets_are_switched_off_and_turned_down_to_the_same_damage(searched, tiny_lm, tiny_tokens):
    found, _, statistics = searched
    mean, directions = baselines.directions_to(statistics, D, "da", "en")
    own = tiny_tokens.take([n for n, s in enumerate(tiny_tokens.corpus.sentences) if s.language == "da"])
    sets = baselines.sets_off(found, mean, directions, (1, 3))
    off = len(sets)
    sets += baselines.sets_down(tiny_lm, SITE, found, mean, directions, own, (0.005,))
    assert [each.name for each in sets[:off]] == [
        *(group for group in ("trained", "untrained", "coordinates") for _ in (1, 3)),
        "difference of means, da less en",
    ]
    switched = switch_off(tiny_lm, SITE, sets, tiny_tokens, precision=1e-6, seed=0)
    compared = baselines.compared([each.row for each in sets], switched, "da", draws=50, seed=0)
    rows = {(row.group, row.size, row.at): row for row in compared.sets}
    assert len(sets) > off
    for row in compared.sets[off:]:
        assert row.change["da"].delta == pytest.approx(0.005, rel=0.2)
    for row in compared.adds[:-1]:
        trained, untrained = (rows[group, row.size, None].change for group in ("trained", "untrained"))
        values = [
            change["da"].delta - (change["en"].delta if row.what == "margin" else 0)
            for change in (trained, untrained)
        ]
        assert [row.trained, row.untrained] == pytest.approx(values, abs=1e-12)
        assert row.difference == pytest.approx(np.subtract(*values), abs=1e-12)
    assert [(row.what, row.size) for row in compared.adds] == [
        *((what, size) for size in (1, 3) for what in ("target", "margin")),
        ("units", None),
    ]
    assert compared.measured["da"].sentences == len(own)
