"""How much text each source and role has, as far as that can be known without fetching."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glossae.errors import GlossaeError
from glossae.plan.at_hand import hub_data_set
from glossae.plan.sizes import sizes
from glossae.recipe import Recipe
from glossae.text import (
    OPTIONAL,
    SHARES,
    Aligned,
    Corpus,
    HubDataSet,
    Opus,
    parse_source,
    read_source,
    split_sources,
)

# files up to this size are read and counted; of larger ones only the size is looked at
READ_BYTES = 2**25
SAMPLE = 400
# where only bytes are known: what a sentence has in TED talks
BYTES_PER_SENTENCE = 100.0

BytesPerToken = Callable[[str, list[str]], float]
"""Bytes of UTF-8 per token of a language, given a few sentences of it if there are any."""


@dataclass(frozen=True)
class Amount:
    """Text in one language."""

    sentences: float
    tokens: float

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.sentences + other.sentences, self.tokens + other.tokens)

    def __mul__(self, share: float) -> "Amount":
        return Amount(self.sentences * share, self.tokens * share)


Amounts = dict[str, Amount]
"""By language."""


@dataclass(frozen=True)
class SourceFacts:
    """A source that a recipe names.

    Attributes:
        name: as the recipe has it.
        where: `file`, `cache`, `net` (to be fetched) or `made`.
        size: bytes of its files, on disk or to be fetched; None if unknown until fetched.
        amounts: its text, None if unknown until fetched.
        note: what else is to be said.
    """

    name: str
    where: Literal["file", "cache", "net"]
    size: float | None
    amounts: Amounts | None
    note: str = ""


def source_facts(recipe: Recipe, bytes_per_token: BytesPerToken) -> dict[str, list[SourceFacts]]:
    """Every role that is given, and `text`, with what is known about their sources.

    Raises:
        GlossaeError: a source is not understood, or a file of it is not there or cannot be read.
    """
    found: dict[str, list[SourceFacts]] = {}
    for role, spec in recipe.corpora.sources.items():
        if spec is None:
            continue
        try:
            found[role] = [_facts(word, recipe, bytes_per_token) for word in split_sources(spec)]
        except GlossaeError as error:
            raise GlossaeError(f"corpora.{role}: {error}") from error
    return found


def role_amounts(recipe: Recipe, sources: dict[str, list[SourceFacts]]) -> dict[str, Amounts | None]:
    """The text of each role, after the cuts that the run will make; None where a source's is unknown.

    Sentences that a later role shares with an earlier one are dropped by the run, and counted here.
    """
    given = {role: _together(facts) for role, facts in sources.items()}
    amounts = _cut_text(recipe, sources["text"]) if "text" in sources else _cut_train(recipe, given)
    amounts |= {role: given[role] for role in OPTIONAL if role in given}
    limits = dict.fromkeys(OPTIONAL, recipe.corpora.panel_limit)
    limits |= dict.fromkeys(("select", "tune", "test"), recipe.corpora.test_limit)
    return {role: _limited(own, limits.get(role)) for role, own in amounts.items()}


def _limited(amounts: Amounts | None, limit: int | None) -> Amounts | None:
    """At most `limit` sentences of each language."""
    if amounts is None or limit is None:
        return amounts
    return {code: own * min(1.0, limit / max(1.0, own.sentences)) for code, own in amounts.items()}


def _cut_train(recipe: Recipe, given: dict[str, Amounts | None]) -> dict[str, Amounts | None]:
    """The roles that are given, and those that are cut out of train."""
    train = _limited(given["train"], recipe.corpora.limit)
    select = given.get("select")
    if "select" not in given:
        train, select = _cut(train, 0.3)
    test = given.get("test")
    if "test" not in given:
        select, test = _cut(select, 0.5)
    tune = given.get("tune")
    if "tune" not in given:
        select, tune = _cut(select, 0.2)
    return {"train": train, "select": select, "tune": tune, "test": test}


def _cut_text(recipe: Recipe, sources: list[SourceFacts]) -> dict[str, Amounts | None]:
    """Every role, cut out of `corpora.text` by the shares of `build_roles`, all sources counted as of one kind."""
    whole = _together(sources)
    roles = ("train", "select", "tune", "test", "panel")
    if whole is None:
        return dict.fromkeys(roles, None)
    limits = dict.fromkeys(SHARES, recipe.corpora.test_limit) | {"panel": recipe.corpora.panel_limit}
    trained = recipe.trained_languages
    found: dict[str, Amounts | None] = {role: {} for role in roles}
    for source in sources:
        own = source.amounts or {}
        trains = trained is None or bool(own.keys() & set(trained))
        left = 1.0
        for role, share in SHARES.items():
            limit = limits[role]
            needed = (
                max((limit / max(1.0, whole[code].sentences) for code in own), default=1.0) if limit else 1.0
            )
            share = min(share if trains else share / sum(SHARES.values()), needed)
            left -= share
            found[role] = _sum(found[role], {code: amount * share for code, amount in own.items()})
        found["train"] = _sum(found["train"], {code: amount * left for code, amount in own.items()})
    return found | {"train": _limited(found["train"], recipe.corpora.limit)}


def _sum(first: Amounts | None, second: Amounts) -> Amounts:
    total = dict(first or {})
    for code, amount in second.items():
        total[code] = total.get(code, Amount(0, 0)) + amount
    return total


def _cut(amounts: Amounts | None, share: float) -> tuple[Amounts | None, Amounts | None]:
    """What is left, and what is taken."""
    if amounts is None:
        return None, None
    return {c: a * (1 - share) for c, a in amounts.items()}, {c: a * share for c, a in amounts.items()}


def _together(facts: list[SourceFacts]) -> Amounts | None:
    total: Amounts = {}
    for source in facts:
        if source.amounts is None:
            return None
        total = _sum(total, source.amounts)
    return total


def _facts(word: str, recipe: Recipe, bytes_per_token: BytesPerToken) -> SourceFacts:
    languages = (recipe.languages.target, recipe.languages.reference, *recipe.languages.others)
    if word == "toy":
        return SourceFacts(word, "file", 0, _toy(languages, bytes_per_token))
    source = parse_source(word)
    if isinstance(source, HubDataSet):
        folder = hub_data_set(source.repository.name)
        return SourceFacts(word, "net" if folder is None else "cache", None, None)
    if isinstance(source, Opus):
        return _opus(source, (languages[0], languages[1]), bytes_per_token)
    size = sum(path.stat().st_size for path in source.files if path.is_file())
    if size > READ_BYTES:
        codes = [code for code, _ in source.paths] if isinstance(source, Aligned) else list(languages[:2])
        shares = {code: size / len(codes) for code in codes}
        return SourceFacts(word, "file", size, _by_bytes(shares, bytes_per_token), "counted by its size")
    corpus = read_source(word, languages=languages, seed=recipe.seed).corpus
    return SourceFacts(word, "file", size, _counted(corpus, bytes_per_token))


def _counted(corpus: Corpus, bytes_per_token: BytesPerToken) -> Amounts:
    amounts = {}
    for code in corpus.languages:
        texts = [sentence.text for sentence in corpus.only(code).sentences]
        size = sum(len(text.encode()) for text in texts)
        amounts[code] = Amount(len(texts), size / bytes_per_token(code, texts[:SAMPLE]))
    return amounts


def _by_bytes(by_language: dict[str, float], bytes_per_token: BytesPerToken) -> Amounts:
    return {
        code: Amount(size / BYTES_PER_SENTENCE, size / bytes_per_token(code, []))
        for code, size in by_language.items()
    }


def _toy(languages: tuple[str, ...], bytes_per_token: BytesPerToken) -> Amounts:
    toy = sizes()["toy"]
    return {
        code: Amount(toy["pairs"], toy["pairs"] * toy["bytes"][code] / bytes_per_token(code, []))
        for code in languages
        if code in toy["bytes"]
    }


def _opus(source: Opus, pair: tuple[str, str], bytes_per_token: BytesPerToken) -> SourceFacts:
    word, archive = source.name, source.archive(pair)
    if archive.is_file():
        return SourceFacts(word, "cache", archive.stat().st_size, _in_archive(archive, pair, bytes_per_token))
    known = sizes()["corpora"].get(f"{source.corpus}@{source.version}")
    if known is None or not set(pair) <= known["bytes"].keys():
        return SourceFacts(word, "net", None, None)
    unpacked = {code: known["pairs"] * known["bytes"][code] for code in pair}
    amounts = {
        code: Amount(known["pairs"], size / bytes_per_token(code, [])) for code, size in unpacked.items()
    }
    return SourceFacts(word, "net", None, amounts, f"{sum(unpacked.values()) / 1e6:.1f} MB of text unpacked")


def _in_archive(path: Path, pair: tuple[str, str], bytes_per_token: BytesPerToken) -> Amounts | None:
    """The text in a fetched archive, by the sizes of the files in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            found: dict[str, float] = {
                code: float(entry.file_size)
                for entry in archive.infolist()
                for code in pair
                if entry.filename.endswith(f".{code}")
            }
    except (OSError, zipfile.BadZipFile):
        return None
    return _by_bytes(found, bytes_per_token) if set(found) == set(pair) else None
