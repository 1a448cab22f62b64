"""What a run says in the terminal."""

import copy
import json
import re

import pytest

from glossae.cli import main
from glossae.run import headlines


@pytest.fixture
def results(finished):
    """The results of a finished run, to be changed."""
    return copy.deepcopy(json.loads((finished / "results.json").read_text()))


def test_until_corpora_prints_the_counts(world, tmp_path, capsys):
    out = tmp_path / "text"
    assert main([*world.line(out), "--until", "corpora"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = json.loads((out / "results.json").read_text())["corpora"]
    said = {line.split()[1].rstrip(":"): line for line in lines if line.startswith("corpora ")}
    assert set(said) == {row["role"] for row in rows}
    for role, line in said.items():
        for language, sentences, tokens in re.findall(r"(\w+) ([\d,]+) sentences, ([\d,]+) tokens", line):
            own = [row for row in rows if (row["role"], row["language"]) == (role, language)]
            assert int(sentences.replace(",", "")) == sum(row["sentences"] for row in own)
            assert int(tokens.replace(",", "")) == sum(row["tokens"] for row in own)
    assert lines[-1].startswith("report ")


def test_a_language_without_text_is_named_once(world, tmp_path, capsys):
    line = [*world.line(tmp_path / "run", languages__others="sv,nl,fr"), "--until", "corpora"]
    assert main(line) == 0
    err = capsys.readouterr().err
    assert [said for said in err.splitlines() if said.startswith("languages.others")] == [
        f"languages.others: {code} is neither tested nor measured: there is no text in it"
        for code in ("nl", "fr")
    ]


def test_where_every_language_has_text_nothing_is_said(world, tmp_path, capsys):
    assert main([*world.line(tmp_path / "run"), "--until", "corpora"]) == 0
    assert "languages.others" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("activation", "k", "said"),
    [("topk", 4, "k 4"), ("batchtopk", 4, "L0 3.2"), ("jumprelu", 4, "L0 3.2"), ("relu", None, "L0 3.2")],
)
def test_l0_is_shown_where_k_does_not_say_it(results, activation, k, said):
    results["sae"] |= {"activation": activation, "k": k, "l0": 3.21}
    (line,) = [line for line in headlines(results, "da", "en") if line.startswith("sae ")]
    assert f"64 latents, {said}: FVU" in line


def test_an_unsound_autoencoder_is_the_first_thing_said(results):
    results["sae"]["unsound"] = ["One thing.", "Another."]
    assert headlines(results, "da", "en")[:2] == ["unsound   One thing.", "unsound   Another."]
    results["sae"]["unsound"] = []
    assert not any(line.startswith("unsound") for line in headlines(results, "da", "en"))
