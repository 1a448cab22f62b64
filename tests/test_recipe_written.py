"""What is written to a run's folder is read back equal."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.recipe import Recipe, all_settings, load_recipe

codes = st.sampled_from(["da", "de", "en", "fo", "gsw", "is", "nan", "no", "tlh", "und", "zh"])
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).filter(
    str.strip
) | st.sampled_from(["none", "NULL", "~", "no", "1e-3", "012", "a: b", "# x", "'", "- x", "<<", "\x7e"])
positive = st.floats(min_value=1e-300, max_value=1e300)
fractions = st.floats(min_value=0, max_value=0.5)
counts = st.integers(min_value=1, max_value=10**9)


@st.composite
def settings(draw):
    """The settings of a recipe, by group."""
    target, reference, *others = draw(st.lists(codes, min_size=2, max_size=5, unique=True))
    size = draw(st.sampled_from(["expansion", "latents"]))
    k = draw(st.integers(min_value=1, max_value=100))
    return {
        "name": draw(texts.filter(lambda text: re.fullmatch(r"[^./\\][^/\\]*", text))),
        "description": draw(st.just("") | texts),
        "model": draw(texts),
        "layer": draw(st.just("auto") | st.integers(min_value=0)),
        "bos": draw(st.booleans()),
        "device": draw(st.sampled_from(["auto", "cpu", "cuda:1"])),
        "languages": {"target": target, "reference": reference, "others": tuple(others)},
        "corpora": {
            "train": draw(texts),
            "select": draw(st.none() | texts),
            "limit": draw(st.none() | counts),
        },
        "probe": {
            "models": tuple(draw(st.lists(texts, unique=True, max_size=3))),
            "lambdas": tuple(draw(st.lists(positive, unique=True, min_size=1, max_size=3))),
        },
        "grid": {
            "k": tuple(draw(st.lists(counts, unique=True, max_size=3))),
            "l1": tuple(draw(st.lists(positive, unique=True, max_size=3))),
            "tied": tuple(draw(st.lists(st.booleans(), unique=True, min_size=1))),
            "layer": draw(st.integers(min_value=0)),
            "model": draw(st.none() | texts),
            "expansion": draw(st.none() | counts),
        },
        "sae": dict(
            k=k,
            lr=draw(st.none() | positive),
            aux_k=draw(st.just("auto") | st.integers(min_value=0)),
            warmup=draw(fractions),
            **{size: draw(st.integers(min_value=k))},
        ),
        "features": {"min_target": draw(fractions)},
        "effects": {
            "values": tuple(
                draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True, min_size=1))
            )
        },
        "steering": {
            "prompts": draw(st.integers(min_value=0)),
            "kl": tuple(draw(st.lists(positive, unique=True, max_size=3))),
            "sample": draw(st.booleans()),
        },
        "report": {"title": draw(st.none() | texts)},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recipes")


@given(values=settings())
def test_what_is_written_is_read_back_equal(folder, values):
    recipe = Recipe(**values)
    path = folder / "recipe.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(path) == recipe


@hypothesis_settings(deadline=None)
@given(text=st.text(max_size=200) | st.text("{}[]:,-&*!|>'\"#% \na", max_size=40))
def test_any_text_is_a_recipe_or_one_line(folder, text):
    path = folder / "any.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(GlossaeError):
        load_recipe(path)


def test_to_dict_has_every_setting_and_only_plain_values():
    recipe = load_recipe("paper")
    values = recipe.to_dict()
    for key in all_settings(Recipe):
        group, _, name = key.rpartition(".")
        value = (values[group] if group else values)[name]
        assert type(value) in (str, int, float, bool, list, type(None))
        assert not isinstance(value, float) or math.isfinite(value)
