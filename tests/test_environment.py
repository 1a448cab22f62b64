"""What the environment says, and who listens."""

import re
from pathlib import Path

import pytest

from sprog.environment import cache_folder, install, offline


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


def test_nobody_is_told_to_install_the_package_that_has_our_name_on_pypi():
    root = Path(__file__).parents[1]
    pages = [
        path for path in root.iterdir() if path.suffix in (".md", ".txt", ".toml") or path.name == "Makefile"
    ]
    pages += [path for path in (root / "src").rglob("*") if path.suffix in (".py", ".j2", ".yaml")]
    pages += [path for folder in ("docs", "benchmarks") for path in (root / folder).rglob("*.md")]
    told = re.compile(r"pip3? install(\s+-\S+)*\s+['\"]?sprog\b")
    assert [path.name for path in pages if told.search(path.read_text(encoding="utf-8"))] == []
    for wrong in ("pip install 'sprog[hub]'", "pip install --upgrade sprog", "pip install\nsprog"):
        assert told.search(wrong)
    assert install("hub") == "pip install -e '.[hub]' in a checkout of sprog"
