"""A run on a corpus of OPUS, by its name, from the command line."""

import hashlib
import json
import shutil
import socket
from collections import Counter
from functools import partial

import pytest
from test_run_faults import MOST, different, places, strike, told, tree
from tiny_world import PAIRS

import glossae
from faults import Faults, Reads
from glossae.cli import main
from glossae.files import TEMPORARY
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


def test_offline_keeps_a_run_from_opus(world, opus, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GLOSSAE_OFFLINE", "1")
    assert main(world.line(tmp_path / "run", **CHANGES)) == 2
    assert "opus:Tiny: GLOSSAE_OFFLINE keeps glossae from fetching" in capfd.readouterr().err
    assert opus.asked == []


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


# ---- faults


class Download:
    """A run that fetches an archive in many blocks, into a cache of its own."""

    def __init__(self, world, opus, folder, monkeypatch):
        opus.put(archive([(pair["da"], pair["en"]) for pair in sentences(3000, seed=3)]))
        # each block is read by itself
        opus.pause = 0.01
        self.world, self.folder, self.monkeypatch = world, folder, monkeypatch
        self.port = int(opus.address.rpartition(":")[2])
        with Reads((self.port,)).at_work() as reads, Faults(folder / "first" / "cache").at_work() as faults:
            assert self.run("first") == 0
        self.whole, self.reads, self.seen = tree(folder / "first"), reads.seen, faults.seen

    def run(self, name):
        self.monkeypatch.setenv("GLOSSAE_CACHE", str(self.folder / name / "cache"))
        line = self.world.line(self.folder / name / "run", **CHANGES, corpora__limit=50)
        return main([*line, "--quiet", "--until", "corpora"])

    def carry_on(self, name, struck):
        assert self.run(name) == 0, struck
        assert different(tree(self.folder / name), self.whole) == [], struck
        shutil.rmtree(self.folder / name)


@pytest.fixture
def download(world, opus, tmp_path, monkeypatch):
    return Download(world, opus, tmp_path, monkeypatch)


def check_reads(download, lasting, numbers, capsys):
    """Reset the connection at some reads, once or from then on, and carry on; counts what that came to."""
    met = Counter()
    for at in numbers:
        name = f"read-{at}"
        capsys.readouterr()
        with Reads((download.port,), at, lasting).at_work() as reads:
            status = download.run(name)
        said = capsys.readouterr().err.splitlines()
        # blocks may come together
        met[status if reads.seen >= at else "not reached"] += 1
        assert status in (0, 2), (at, said)
        if status:
            assert said[-1].startswith("glossae: opus:Tiny: ")
            assert not (download.folder / name / "run").exists()
            left = {path.name for path in (download.folder / name).rglob("*") if path.is_file()}
            mine = "da-en.txt.zip"
            assert left <= {f"{mine}.part", f"{mine}.part.json", f".{mine}.lock"}, (at, left)
        download.carry_on(name, at)
    return met


def check_files(download, kind, numbers, capsys):
    """Kill the download, or let the disk fail, at some operations in the cache, and carry on."""
    met = Counter()
    for at in numbers:
        name = f"{kind}-{at}"
        status, struck = strike(
            partial(download.run, name), download.folder / name / "cache", kind, at, capsys
        )
        met[status] += 1
        download.carry_on(name, struck)
    return met


def test_a_download_that_is_struck_anywhere_is_carried_on(download, capsys):
    for lasting in (False, True):
        check_reads(download, lasting, [1, download.reads // 2], capsys)
    for kind in ("kill", "ENOSPC", "ENOENT"):
        check_files(download, kind, places(download.seen, kind, 2), capsys)


def test_what_a_killed_download_left_is_deleted_and_nothing_else(world, opus, talks, tmp_path):
    cache = tmp_path / "cache" / "opus" / "Tiny" / "v1"
    cache.mkdir(parents=True)
    left = [cache / f"{TEMPORARY}da-en.txt.zip.{more}json" for more in ("json.x1.", "part.json.x2.")]
    others = [cache / f"{TEMPORARY}da-sv.txt.zip.json.x1.json", cache / ".mine"]
    for path in (*left, *others):
        path.write_text("?")
    assert main([*world.line(tmp_path / "run", **CHANGES), "--quiet", "--until", "corpora"]) == 0
    assert [path.exists() for path in (*left, *others)] == [False, False, True, True]


@pytest.mark.slow
def test_every_place_of_a_download(download, capsys):
    for lasting in (False, True):
        met = check_reads(download, lasting, range(1, download.reads + 1), capsys)
        what = f"connection reset at {'a read and all after it' if lasting else 'a read'}"
        ends = f"{met[2]} refused in one line, {met[0]} went on, {met['not reached']} not reached"
        told(capsys, f"download from OPUS, {what}: {download.reads} places: {ends}")
    for kind in ("kill", "ENOSPC", "ENOENT"):
        numbers = places(download.seen, kind, MOST)
        met = check_files(download, kind, numbers, capsys)
        ends = f"{met[70]} killed, {met[2]} refused in one line, {met[0]} went on"
        told(capsys, f"download from OPUS, {kind}: {len(numbers)} places: {ends}")
