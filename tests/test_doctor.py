"""`glossae doctor` says what is here, asks nobody, and shows no secret."""

import socket
import sys
from importlib import metadata

import pytest

from glossae.cli import main
from glossae.doctor import Package

SECRET = "hf_notforanyone"


@pytest.fixture(autouse=True)
def closed(monkeypatch, tmp_path):
    """No network, empty caches."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_all_is_well_here(capsys, tmp_path):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for words in ("python", "torch", "transformers", "dtype auto: float32", "device auto", "cores", "free"):
        assert words in said
    assert f"{tmp_path / 'cache'}: not there yet" in " ".join(said.split())
    assert "hub" in said
    assert "multi" in said
    assert said.endswith("glossae can run here.\n")
    assert not list(tmp_path.iterdir())


def test_caches_are_weighed(capsys, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").write_bytes(b"x" * 3000)
    (tmp_path / "cache" / "link").symlink_to(tmp_path / "cache" / "file")
    assert main(["doctor"]) == 0
    assert f"{tmp_path / 'cache'}: 3 kB" in " ".join(capsys.readouterr().out.split())


def test_secrets_are_not_shown(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@proxy")
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:{SECRET}@mirror")
    assert main(["doctor"]) == 0
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    for words in ("found (HF_TOKEN), not shown", "HTTPS_PROXY", "HF_ENDPOINT"):
        assert words in captured.out


def test_a_token_in_a_file(capsys, tmp_path):
    (tmp_path / "token").write_text(SECRET)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert SECRET not in said
    assert "not shown" in " ".join(said.split())


@pytest.mark.parametrize(
    ("value", "words"), [("1", "kept from the network by HF_HUB_OFFLINE"), ("0", "asked when")]
)
def test_offline_is_said(capsys, monkeypatch, value, words):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    for name in ("GLOSSAE_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor"]) == 0
    assert words in capsys.readouterr().out


def answer_for(monkeypatch, name, version):
    """Let the metadata say that a package has another version, or is not there."""
    real = metadata.version

    def say(asked):
        if asked.lower() != name:
            return real(asked)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", say)


@pytest.mark.parametrize(
    ("version", "words"),
    [(None, "transformers: not installed, needs 5"), ("4.57.1", "transformers: 4.57.1 is too old")],
)
def test_a_package_that_glossae_cannot_do_without(capsys, monkeypatch, version, words):
    answer_for(monkeypatch, "transformers", version)
    assert main(["doctor"]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert len(captured.err.splitlines()) == 1
    assert "Optional features" in captured.out


def test_a_missing_feature_is_no_illness(capsys, monkeypatch):
    answer_for(monkeypatch, "datasets", None)
    assert main(["doctor"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "datasets missing or too old; pip install 'glossae[hub]' (in a checkout: pip install -e '.[hub]'), or pip"
        in said
    )


def test_a_torch_that_does_not_load(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 2
    captured = capsys.readouterr()
    assert "torch does not load" in captured.err
    assert len(captured.err.splitlines()) == 1
    assert "Caches and disk" in captured.out


def test_a_cache_that_cannot_be_written(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "file" / "cache"))
    assert main(["doctor"]) == 2
    assert "cannot be written to" in capsys.readouterr().err


def test_help_teaches(capsys):
    assert main(["doctor", "--help"]) == 0
    said = capsys.readouterr().out
    assert "usage: glossae doctor" in said
    assert "exit status" in said
    assert all(len(line) <= 110 for line in said.splitlines())
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "glossae doctor" in said
    assert "--dry-run" in said


def test_it_takes_no_words(capsys):
    assert main(["doctor", "now"]) == 2
    assert capsys.readouterr().err == "glossae: doctor: unexpected 'now'\n"


@pytest.mark.parametrize(
    ("found", "least", "good"),
    [
        ("2.9.0+cpu", "2.9", True),
        ("2.13.0+cpu", "2.9", True),
        ("2.9", "2.9.0", True),
        ("2.8.1", "2.9", False),
        ("5.0.0rc1", "5.0", True),
        ("1.0", "", True),
        (None, "", False),
    ],
)
def test_versions_compare_as_numbers(found, least, good):
    assert Package("p", least, found).good is good
