"""What the environment says, and who listens."""

from pathlib import Path

import pytest

from sprog.environment import cache_folder, offline


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("SPROG_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("SPROG_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "sprog"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "sprog"


@pytest.mark.parametrize("name", ["SPROG_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_who_is_offline(monkeypatch, name):
    for other in ("SPROG_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(other, raising=False)
    assert offline() is None
    monkeypatch.setenv(name, "0")
    assert offline() is None
    monkeypatch.setenv(name, "True")
    assert offline() == name
