"""The paper's recipe as its code has it: what is found and measured by the mis-read autoencoder, and the page."""

import html
import json

import pytest
from test_run_paper import run_paper

from glossae.sae import read_sae
from toy_grammar import sentiment


@pytest.fixture(scope="module")
def changes(world, tmp_path_factory):
    """Settings of the tiny model, with one of the paper's tasks in a folder."""
    folder = tmp_path_factory.mktemp("tweets")
    rows = [json.dumps(row.row()) + "\n" for row in sentiment(260, 1, "da")]
    (folder / "train.jsonl").write_text("".join(rows[:180]))
    (folder / "test.jsonl").write_text("".join(rows[180:]))
    return {
        "layer": 1,
        "sae.k": 8,
        "grid.k": "none",
        "grid.l1": "none",
        "probe.lambdas": "0.1,30",
        "tasks.names": f"angry-tweets:da={folder}",
        "tasks.values": "-8,8",
        "tasks.rows": 200,
    }


@pytest.fixture(scope="module")
def coded(world, changes, tmp_path_factory):
    """The run as coded; not to be written to."""
    return run_paper(tmp_path_factory.mktemp("coded") / "run", world.model, **changes, protocol="as_coded")


@pytest.fixture(scope="module")
def published(world, changes, tmp_path_factory):
    """The same by the paper's text, up to the sweep."""
    without = {key: value for key, value in changes.items() if not key.startswith("tasks")}
    return run_paper(
        tmp_path_factory.mktemp("published") / "run",
        world.model,
        **without | {"tasks.names": "none"},
        protocol="published",
    )


@pytest.fixture(scope="module")
def shown(coded):
    return (coded.path / "report.html").read_text(encoding="utf-8")


def test_as_coded_is_asked_for_by_the_protocol(coded):
    results = coded.results
    assert results.protocol == "as_coded"
    # nobody asked for either by name
    assert not coded.recipe.probe.as_coded
    assert coded.recipe.tasks.protocol == "controlled"
    assert results.probe.as_coded
    assert {row.protocol for row in results.tasks} == {"controlled", "as_coded"}


def test_the_autoencoder_is_the_published_one(coded, published):
    for file in ("sae.safetensors",):
        assert (coded.path / "sae" / file).read_bytes() == (published.path / "sae" / file).read_bytes()
    assert read_sae(coded.path / "sae").config.pre_encoder_bias


def test_units_are_found_in_a_hundred_sentences(coded, published):
    features = coded.results.features
    seen, whole = features.selected_on, features.tokens
    assert published.results.features.selected_on is None
    assert all(0 < seen[code].tokens <= whole[code] for code in ("da", "en"))
    # the corpora are small, but not that small
    assert sum(row.sentences for row in coded.results.corpora if row.role == "select") < 100 or (
        sum(seen[code].tokens for code in seen) < sum(whole.values())
    )
    rates = {code: seen[code].rate for code in seen}
    for row in features.units:
        unit = str(row.unit)
        assert rates["da"][unit] > rates["en"][unit]
        if features.rule == "paper":
            assert rates["da"][unit] > 0.5
            assert rates["en"][unit] < 0.01


def test_as_coded_stands_beside_and_not_instead(coded, published):
    own = coded.results.next_token.as_coded
    assert {None, -8.0, 0.0, 8.0} <= {row.value for row in own}
    assert {row.language for row in own} == {"da", "en"}
    assert published.results.next_token.as_coded is None

    def without_units(run):
        cells = run.table("effects/next_token")
        cells = cells[(cells["units"] == "da") & cells["edit"].isin(["raw", "none"])]
        return cells.set_index(["edit", "splice", "language", "source"])["ce"].to_dict()

    # the model and the splice are measured as ever; the mis-read splice is something else
    assert without_units(coded) == without_units(published)
    for code in ("da", "en"):
        (none,) = [row for row in own if (row.language, row.value) == (code, None)]
        assert none.delta == 0
        assert none.ce != without_units(coded)["none", True, code, "all"]


def test_the_page_has_the_papers_numbers_cell_by_cell(shown):
    page = html.unescape(shown).replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "Switches",
        "Figure 3, beside the paper",
        "Appendix C, beside the paper",
        "Appendix D, beside the paper",
        "Changes with the paper's sign, where its two digits show one: as coded, ",
        "EleutherAI/pythia-2.8b",
    ):
        assert words in page, words
    # Danish at -8, its rise, and the tweets' score there
    for number in ("4.24", "+1.30", "+1.30 / +0.38", "0.547", "97.6"):
        assert number in page, number


def test_without_the_switches_the_page_says_how_to_throw_them(published):
    page = (published.path / "report.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "what the paper&#39;s code does differently (<code>--protocol</code> as_coded)" in page
    assert "Appendix C, beside the paper" in page
    assert "Switches" not in page
    assert "downstream tasks (" in page


def test_another_recipe_can_be_run_as_coded_too(world, tmp_path, page):
    out = tmp_path / "run"
    assert world.run(out, "--until", "effects", protocol="as_coded") == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Switches" in page
    assert "Figure 3, beside the paper" not in page
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["published"] is None
    assert results["next_token"]["as_coded"]
