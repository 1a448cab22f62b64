"""A run on a corpus of OPUS, by its name, from the command line."""

import hashlib
import json
import os
import socket

import pytest
from tiny_world import PAIRS

import glossae
from glossae.cli import main
from opus_server import archive
from toy_grammar import sentences


@pytest.fixture
def talks(opus):
    """An archive on the server."""
    return opus.put(archive([(pair["da"], pair["en"]) for pair in sentences(PAIRS, seed=3)]))


CHANGES = {"corpora__train": "opus:Tiny", "corpora__test": None, "languages__others": "none"}


def test_a_run_fetches_once(world, opus, talks, tmp_path, capfd, monkeypatch):
    out = tmp_path / "run"
    line = [*world.line(out, **CHANGES), "--until", "sae"]
    assert main(line) == 0
    captured = capfd.readouterr()
    url = f"{opus.address}/OPUS-Tiny/v1/moses/da-en.txt.zip"
    assert f"fetch: {url}" in captured.err
    run = glossae.open_run(out)
    assert run.record["provenance"] == {
        "opus:Tiny": {"url": url, "bytes": len(talks), "sha256": hashlib.sha256(talks).hexdigest()}
    }
    rows = run.results.corpora
    assert {row.name for row in rows} == {"opus:Tiny"}
    assert sum(row.sentences for row in rows) > PAIRS
    assert run.record["translations_may_straddle"] is False

    opus.close()
    before = (out / "results.json").read_bytes()

    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert main(line) == 0
    captured = capfd.readouterr()
    assert "fetch" not in captured.err
    assert "sae: done before, kept" in captured.err
    assert (out / "results.json").read_bytes() == before
    assert main([*world.line(tmp_path / "another", **CHANGES), "--quiet", "--until", "corpora"]) == 0


def test_a_transfer_that_breaks_off_begins_no_folder_and_is_carried_on(world, opus, talks, tmp_path, capfd):
    out = tmp_path / "run"
    opus.stops = [1000, 0, 0, 0]
    line = [*world.line(out, **CHANGES), "--quiet", "--until", "corpora"]
    assert main(line) == 2
    error = capfd.readouterr().err
    assert error.startswith("glossae: opus:Tiny: http://127.0.0.1:")
    assert error.endswith("the same command carries on after the 1,000 bytes that came\n")
    assert error.count("\n") == 1
    assert not out.exists()
    opus.asked.clear()
    assert main(line) == 0
    assert [wanted for _, wanted in opus.asked] == ["bytes=1000-"]


def test_offline_is_for_the_hub_too(world, opus, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GLOSSAE_OFFLINE", "1")
    assert main(world.line(tmp_path / "run", **CHANGES)) == 2
    assert "opus:Tiny: GLOSSAE_OFFLINE keeps glossae from fetching" in capfd.readouterr().err
    assert opus.asked == []
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_dry_run_looks_and_does_not_fetch(world, opus, talks, tmp_path, capsys):
    line = [*world.line(tmp_path / "run", **CHANGES), "--dry-run"]
    assert main(line) == 0
    assert "Would be fetched" in capsys.readouterr().out
    assert opus.asked == []
    assert main([*world.line(tmp_path / "run", **CHANGES), "--quiet", "--until", "corpora"]) == 0
    capsys.readouterr()
    assert main(line) == 0
    said = capsys.readouterr().out
    assert "Nothing would be fetched." in said
    assert "cached text" in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["provenance"]
