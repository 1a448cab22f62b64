"""What the environment says, and who listens."""

import re
from pathlib import Path

import pytest

from glossae.environment import cache_folder, install, offline


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("GLOSSAE_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "glossae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "glossae"


@pytest.mark.parametrize("name", ["GLOSSAE_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_who_is_offline(monkeypatch, name):
    for other in ("GLOSSAE_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(other, raising=False)
    assert offline() is None
    monkeypatch.setenv(name, "0")
    assert offline() is None
    monkeypatch.setenv(name, "True")
    assert offline() == name


def test_a_cache_of_the_former_name_is_used_until_there_is_a_new_one(monkeypatch, tmp_path):
    monkeypatch.delenv("GLOSSAE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "sprog").mkdir()
    assert cache_folder() == tmp_path / "sprog"
    (tmp_path / "glossae").mkdir()
    assert cache_folder() == tmp_path / "glossae"


def test_people_are_told_to_install_by_the_name_that_is_ours():
    root = Path(__file__).parents[1]
    pages = [
        path for path in root.iterdir() if path.suffix in (".md", ".txt", ".toml") or path.name == "Makefile"
    ]
    pages += [path for path in (root / "src").rglob("*") if path.suffix in (".py", ".j2", ".yaml")]
    pages += [path for folder in ("docs", "benchmarks") for path in (root / folder).rglob("*.md")]
    # `sprog` on PyPI is somebody's linear programming
    told = re.compile(r"pip3? install(\s+-\S+)*\s+['\"]?sprog\b")
    assert [path.name for path in pages if told.search(path.read_text(encoding="utf-8"))] == []
    assert told.search("pip install 'sprog[hub]'")
    assert install("hub") == "pip install 'glossae[hub]' (in a checkout: pip install -e '.[hub]')"
