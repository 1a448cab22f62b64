"""`glossae doctor` says what is here, asks nobody, and shows no secret."""

import json
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


def examined(capsys, status=0):
    """What it says, on one line, and what it says is wrong."""
    assert main(["doctor"]) == status
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err
    assert len(captured.err.splitlines()) == (status != 0)
    return " ".join(captured.out.split()), captured.err


def test_all_is_well_here(capsys, tmp_path):
    said, _ = examined(capsys)
    for words in (
        *(
            "python",
            "torch",
            "transformers",
            "dtype auto: float32",
            "device auto",
            "cores",
            "free",
            "hub",
            "multi",
        ),
        f"{tmp_path / 'cache'}: not there yet",
        "token for the hub none; gated models need one ('hf auth login')",
    ):
        assert words in said
    assert said.endswith("glossae can run here; 'glossae run demo' tries everything on a toy model.")
    # every extra says what it is for
    assert " an extra:" not in said
    assert not list(tmp_path.iterdir())


def test_json_has_the_same_in_numbers(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    answer_for(monkeypatch, "transformers", "4.57.1")
    assert main(["doctor", "--json"]) == 2
    captured = capsys.readouterr()
    assert SECRET not in captured.out
    said = json.loads(captured.out)
    assert said["packages"]["transformers"] == {"least": "5.0", "found": "4.57.1", "good": False}
    assert said["devices"][0]["memory_bytes"] > 1e8
    assert said["folders"]["cache"]["path"] == str(tmp_path / "cache")
    assert said["network"]["token"] == "HF_TOKEN"
    assert said["status"] == 2
    assert captured.err == f"glossae: {said['error']}\n"


def test_caches_are_weighed_and_a_token_in_a_file_is_not_shown(capsys, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").write_bytes(b"x" * 3000)
    (tmp_path / "cache" / "link").symlink_to(tmp_path / "cache" / "file")
    (tmp_path / "token").write_text(SECRET)
    said, _ = examined(capsys)
    assert f"{tmp_path / 'cache'}: 3 kB" in said
    assert f"found ({tmp_path / 'token'}), not shown" in said


def test_secrets_are_not_shown(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@proxy")
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:{SECRET}@mirror")
    said, _ = examined(capsys)
    for words in ("found (HF_TOKEN), not shown", "HTTPS_PROXY set", "HF_ENDPOINT is set"):
        assert words in said


@pytest.mark.parametrize(
    ("value", "words"), [("1", "kept from the network by HF_HUB_OFFLINE"), ("0", "asked when")]
)
def test_offline_is_said(capsys, monkeypatch, value, words):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    for name in ("GLOSSAE_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert words in examined(capsys)[0]


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
    said, wrong = examined(capsys, 2)
    assert words in wrong
    assert "Optional features" in said


def test_a_missing_feature_is_no_illness(capsys, monkeypatch):
    answer_for(monkeypatch, "datasets", None)
    words = "datasets missing or too old; pip install 'glossae[hub]' (in a checkout: pip install -e '.[hub]'), or pip"
    assert words in examined(capsys)[0]


def test_a_torch_that_does_not_load(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    said, wrong = examined(capsys, 2)
    assert "torch does not load" in wrong
    assert "Caches and disk" in said


def test_a_cache_that_cannot_be_written(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "file" / "cache"))
    assert "cannot be written to" in examined(capsys, 2)[1]


def test_help_teaches_and_words_are_refused(capsys):
    assert main(["doctor", "--help"]) == 0
    said = capsys.readouterr().out
    assert "usage: glossae doctor" in said
    assert "exit status" in said
    assert all(len(line) <= 110 for line in said.splitlines())
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
