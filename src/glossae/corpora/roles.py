"""Roles divide a run's text by use, so that no claim is tested on text that helped to make it."""

import difflib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glossae.corpora.cleaning import Tally
from glossae.corpora.corpus import Corpus, Progress, Sentence, Source, no_progress
from glossae.corpora.lines import open_file
from glossae.corpora.sources import Generator, parse_source, read_clean, split_sources
from glossae.corpora.splits import cut, cut_text, shuffled, within_limit, without_near_duplicates, words_key
from glossae.errors import GlossaeError
from glossae.languages import language_code, overlapping, suggested_code
from glossae.results import RoleCount

ROLES = ("train", "select", "tune", "test", "panel", "replicate")
"""The roles, in order of precedence: a sentence of an earlier role is dropped from a later one."""
OPTIONAL = ("panel", "replicate")
"""The roles that exist only if they are given; the others are cut out of train."""
TEXT = "text"
"""The key for text out of which every role but `replicate` is cut, in place of `train`; see `build_roles`."""
FEW = 10
"""Sentences that two languages may have in common whatever share they are: names, numbers."""
SHARES = {"panel": 0.3, "test": 0.1, "select": 0.06, "tune": 0.04}
"""Each role's share of `text`, in this order; the rest is train. Shares double for sources that train does not read."""


@dataclass(frozen=True)
class Roles:
    """The text of a run, by role.

    Attributes:
        corpora: the sentences of every role, shuffled by the seed, so that any stretch is a fair sample.
        places: for each role, the position of each of its sentences among those of its source in the role that
            read it.
        counts: one row per role, source and language.
        translations_may_straddle: whether text without pair ids was cut into several roles, so that a sentence
            and its translation may be in different ones.
        cuts: for each role, a sentence on where its text came from.
        provenance: for each fetched source, by name, its origin (for an OPUS corpus the archive's `url`,
            `bytes` and `sha256`).
        left_out: languages of `text` that are neither the target, the reference nor one of the others.
        alike: for each role, how many of its sentences have the words of a sentence in an earlier role, with other
            numbers, punctuation or capitals; only roles that have such sentences.
    """

    corpora: dict[str, Corpus]
    # this is the only place where the order of lines matters
    places: dict[str, tuple[int, ...]] = field(compare=False, repr=False)
    counts: list[RoleCount]
    translations_may_straddle: bool
    cuts: dict[str, str]
    provenance: dict[str, dict[str, Any]]
    left_out: tuple[str, ...] = ()
    alike: Mapping[str, int] = field(default_factory=dict)

    @property
    def sentences(self) -> dict[str, dict[str, float]]:
        """The number of sentences of each role, by language."""
        return {
            role: dict(Counter(sentence.language for sentence in corpus.sentences))
            for role, corpus in self.corpora.items()
        }


def untested_languages(
    sentences: Mapping[str, Mapping[str, float]], others: Sequence[str], left_out: Sequence[str] = ()
) -> list[str]:
    """One line, with the reason, for each language that a run will not test or not measure.

    Args:
        sentences: for each role, the number of sentences by language.
        others: the languages besides the target and the reference.
        left_out: languages of the text that the run does not use.
    """
    tested = "panel" if "panel" in sentences else "select"
    lines = []
    for language in others:
        absent = [role for role in (tested, "test") if not sentences.get(role, {}).get(language)]
        if len(absent) == 2:
            anywhere = any(own.get(language) for own in sentences.values())
            where = f"{tested} and test have no text in it" if anywhere else "there is no text in it"
            lines.append(f"languages.others: {language} is neither tested nor measured: {where}")
        elif absent == ["test"]:
            lines.append(f"languages.others: no effect on {language} is measured: test has no text in it")
        elif absent:
            lines.append(
                f"languages.others: no unit is tested against {language}: {tested} has no text in it"
            )
    lines += [
        f"corpora.text: {language} is neither tested nor measured: name it in languages.others"
        for language in left_out
    ]
    return lines


def build_roles(
    specs: Mapping[str, str | None],
    *,
    target: str,
    reference: str,
    others: Sequence[str] = (),
    seed: int,
    limit: int | None = None,
    panel_limit: int | None = None,
    test_limit: int | None = None,
    trained: Sequence[str] | None = None,
    generators: Mapping[str, Generator] | None = None,
    progress: Progress = no_progress,
) -> Roles:
    """Fetch, read, clean and divide the text of a run.

    A role that is given is read from its own sources. A missing `select` is 30 % of `train`, a missing `test`
    half of `select`, a missing `tune` 20 % of the rest of `select`; the sentences of a pair, and of a document
    if the source names documents, stay together. `panel` and `replicate` are read if they are given. The cuts
    depend on the seed and the text, not on the order of lines.

    With `text` in place of `train`, every role but `replicate` is cut out of it, by pair and from each source
    separately: 30 % panel, 10 % test, 6 % select, 4 % tune, the rest train. A source without a language of
    `trained` gives nothing to train, and twice the share to each other role. A share is smaller if the role's
    limit needs less; the remainder goes to train. If some sources have all languages of the text, the panel is
    cut from those alone, so that its text is of one kind. Of sentences of one language with the same words,
    whatever their numbers and punctuation, one is kept; the others are dropped as `near_duplicate`.

    Args:
        specs: for each role, source strings separated by blanks; None or missing if the role is to be cut.
            `text` replaces all roles but `replicate`.
        target: the code of the target language; label 0.
        reference: the code of the reference language; label 1.
        others: codes of further languages; their text may be missing.
        seed: decides the cuts.
        limit: the most sentences per language of `train`, before any role is cut out of it; the rest is
            counted as `over_limit`. With `text`, the most sentences per language that train keeps.
        panel_limit: the most sentences per language in each of panel and replicate.
        test_limit: the most sentences per language in each of select, tune and test.
        trained: the languages that train is read in, which decides the shares of `text`; None for all.
        generators: generators of text, by source name.
        progress: shows what is being fetched.

    Raises:
        GlossaeError: a role, language, source or limit is wrong, a file cannot be read or fetched, or a role has
            no sentence in the target or the reference language.
    """
    languages = _codes(target, reference, others)
    for name, number in (("limit", limit), ("panel_limit", panel_limit), ("test_limit", test_limit)):
        if number is not None and number < 1:
            raise GlossaeError(
                f"corpora.{name}: {number}: write a number of sentences from 1 on, or leave it out"
            )
    limits = {"train": limit, **dict.fromkeys(OPTIONAL, panel_limit)}
    limits |= dict.fromkeys(("select", "tune", "test"), test_limit)
    sources = _sources(specs, generators)
    for path in (path for given in sources.values() for source in given.values() for path in source.files):
        # refuse a missing file before another takes time to read
        with open_file(path):
            pass
    provenance = {
        name: facts
        for given in sources.values()
        for name, source in given.items()
        if (facts := source.fetch(languages, progress))
    }
    division = _Division(languages, seed, TEXT if TEXT in sources else "train")
    for role, given in sources.items():
        division.read("train" if role == TEXT else role, given)
    if TEXT in sources:
        division.cut_text(languages if trained is None else trained, limits)
    else:
        _cut_train(division, sources, limit)
    for role in OPTIONAL:
        if role in sources:
            division.drop_earlier(role)
    for role, number in limits.items():
        division.limit(role, number)
    division.check()
    return division.roles(provenance)


def _codes(target: str, reference: str, others: Sequence[str]) -> tuple[str, ...]:
    """The codes of a run: the target's, the reference's, then the others'."""
    keys = ["languages.target", "languages.reference", *["languages.others"] * len(others)]
    codes: list[str] = []
    for key, written in zip(keys, [target, reference, *others], strict=True):
        code = language_code(written)
        if code is None:
            raise GlossaeError(
                f"{key}: {written!r} is not a language code: write one such as "
                f"{suggested_code(written)} (BCP 47)"
            )
        if code in codes:
            raise GlossaeError(f"{key}: {code} is named twice among the languages: name each once")
        codes.append(code)
        if both := overlapping(codes):
            raise GlossaeError(f"{key}: {both[1]} is part of {both[0]} (Norwegian): name one of the two")
    return tuple(codes)


def _sources(
    specs: Mapping[str, str | None], generators: Mapping[str, Generator] | None
) -> dict[str, dict[str, Source]]:
    """The sources of every role that is given, and of `text`, each under its own name.

    The name is the source's short name: `x.tsv`, and for another file of that name `x.tsv#2`.
    """
    for role in specs:
        if role not in (*ROLES, TEXT):
            near = difflib.get_close_matches(role, ROLES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the roles are {', '.join(ROLES)}"
            raise GlossaeError(f"corpora.{role}: there is no such role: {hint}")
    whole = specs.get(TEXT) is not None
    if not whole and specs.get("train") is None:
        raise GlossaeError("corpora.train: is missing: name the text to train on, such as a PATH.tsv")
    owners: dict[str, Source] = {}
    sources: dict[str, dict[str, Source]] = {}
    for role in (TEXT, *ROLES):
        spec = specs.get(role)
        if spec is None:
            continue
        if whole and role not in (TEXT, "replicate"):
            raise GlossaeError(f"corpora.{role}: is cut out of corpora.text: give one of the two")
        try:
            parsed = [parse_source(word, generators) for word in split_sources(spec)]
        except GlossaeError as error:
            raise GlossaeError(f"corpora.{role}: {error}") from error
        sources[role] = {}
        for source in parsed:
            name, number = source.name, 1
            # equal sources have the same name
            while owners.setdefault(name, source) != source:
                number += 1
                name = f"{source.name}#{number}"
            sources[role][name] = source
    return sources


def _cut_train(division: "_Division", given: Mapping[str, Any], limit: int | None) -> None:
    """Cut the roles that are not given out of train, and drop from each what an earlier role has."""
    division.limit("train", limit)
    if "select" in given:
        division.drop_earlier("select")
    else:
        division.cut("select", "train", 0.3, "30 % of train")
    if "test" not in given:
        division.cut("test", "select", 0.5, "half of select")
    if "tune" in given:
        division.drop_earlier("tune")
    else:
        share = "20 % of select" if "test" in given else "20 % of what test leaves of select"
        division.cut("tune", "select", 0.2, share)
    if "test" in given or "tune" in given:
        division.drop_earlier("test")


class _Division:
    """The sentences of a run while they are being divided, and their counts."""

    def __init__(self, languages: tuple[str, ...], seed: int, whole: str) -> None:
        self._languages = languages
        self._seed = seed
        # the setting that `train` and the roles cut out of it come from: `train` or `text`
        self._whole = whole
        self._sentences: dict[str, list[Sentence]] = {}
        self._tallies: dict[tuple[str, str, str], Tally] = defaultdict(Tally)
        self._origins: dict[str, str] = {}
        self._unaligned: set[str] = set()
        self._straddle = False
        self._read: set[str] = set()
        # for each role, its sentences whose words an earlier role has
        self._alike: Counter[str] = Counter()
        # for each role and source that was read, its sentences in the order of the file
        self._in_order: dict[tuple[str, str], list[Sentence]] = {}

    def _present(self) -> list[str]:
        return [role for role in ROLES if role in self._sentences]

    def read(self, role: str, sources: Mapping[str, Source]) -> None:
        """Fill `role` from its own sources."""
        texts: dict[str, set[str]] = {language: set() for language in self._languages}
        together: list[Sentence] = []
        for name, source in sources.items():
            sentences, tallies = read_clean(source, name, self._languages, self._seed, texts)
            # a row for every wanted language, so that a missing language is on record
            for language in (*self._languages, *tallies):
                self._tallies[role, name, language] = tallies.get(language, Tally())
            self._in_order[role, name] = sentences
            if len(sources) > 1:
                for sentence in sentences:
                    texts[sentence.language].add(sentence.text)
            if len({sentence.pair for sentence in sentences}) == len(sentences):
                self._unaligned.add(name)
            together.extend(sentences)
        self._sentences[role] = together
        self._read.add(role)
        self._origins[role] = f"read from {', '.join(sources)}"

    def limit(self, role: str, limit: int | None) -> None:
        """Keep at most `limit` sentences per language in `role`, if both exist."""
        if limit is not None and role in self._sentences:
            self._sentences[role], over = within_limit(self._sentences[role], limit, seed=self._seed)
            self._drop(role, over, "over_limit")

    def cut(self, role: str, origin: str, share: float, words: str) -> None:
        """Move a share of the pairs and documents of `origin` to `role`."""
        self._origins[role] = f"{words}, cut by {self._unit(origin)}, seed {self._seed}"
        rest, taken = cut(self._sentences[origin], share, seed=self._seed, purpose=role)
        self._sentences[origin], self._sentences[role] = rest, taken
        self._moved(role, origin)

    def cut_text(self, trained: Sequence[str], limits: Mapping[str, int | None]) -> None:
        """Cut panel, test, select and tune out of train; see `splits.cut_text`."""
        kept, near = without_near_duplicates(self._sentences["train"])
        self._drop("train", near, "near_duplicate")
        self._sentences["train"] = kept
        unit = self._unit("train")
        parts, kinds = cut_text(kept, SHARES, trained=trained, limits=limits, seed=self._seed)
        self._sentences |= parts
        for role, share in SHARES.items():
            self._moved(role, "train")
            most = "" if limits[role] is None else f", at most {limits[role]} sentences of a language"
            self._origins[role] = f"{100 * share:g} % of text{most}, cut by {unit}, seed {self._seed}"
        self._origins["panel"] += f"; {kinds}"

    def _unit(self, role: str) -> str:
        """The unit that a cut keeps whole, in words."""
        return "document" if any(sentence.doc for sentence in self._sentences[role]) else "pair"

    def _moved(self, role: str, origin: str) -> None:
        """Count what `role` took from `origin`."""
        taken = self._sentences[role]
        self._straddle |= any(sentence.source in self._unaligned for sentence in taken)
        for sentence in taken:
            self._tally(origin, sentence).moved[role] += 1
            self._tally(role, sentence).read += 1

    def drop_earlier(self, role: str) -> None:
        """Drop from `role` what an earlier role has: the same text, or sentences of its pair or document."""
        before = {
            name: self._sentences[name] for name in self._present() if ROLES.index(name) < ROLES.index(role)
        }
        kept, dropped = _divide_by_overlap(
            self._sentences[role], [sentence for sentences in before.values() for sentence in sentences]
        )
        # only a role with its own sources is refused: one that was cut out of another names no file
        lost = {s.source for s in dropped} - {s.source for s in kept} if role in self._read else set()
        for name in sorted(lost):
            gone = [sentence for sentence in dropped if sentence.source == name]
            where = " and ".join(
                f"corpora.{other}"
                for other, sentences in before.items()
                if _divide_by_overlap(sentences, gone)[1]
            )
            raise GlossaeError(
                f"corpora.{role}: all {len(gone)} sentences of {name} are in {where} already: one text cannot be in "
                f"two roles; give corpora.{role} other text"
            )
        self._sentences[role] = kept
        self._drop(role, dropped, "in_earlier_role")

    def check(self) -> None:
        """Refuse a role without text in the target or the reference language, and one text as two languages."""
        target, reference = self._languages[:2]
        for role in self._present():
            named = role if self._whole == "train" or role == "replicate" else self._whole
            present = {sentence.language for sentence in self._sentences[role]}
            for language in (target, reference):
                if language not in present:
                    raise GlossaeError(
                        f"corpora.{named}: no {language} sentence {self._why_none(role, language)}: "
                        f"every role needs {target} and {reference}; give corpora.{named} other or more text"
                    )
        self._compare_words()

    def _compare_words(self) -> None:
        """Count the sentences whose words an earlier role has, and refuse one text as two languages.

        Names and numbers are the same in several languages, the words of most sentences are not.
        """
        first: dict[bytes, str] = {}
        before: set[bytes] = set()
        common: Counter[tuple[str, str]] = Counter()
        counts: Counter[str] = Counter()
        for role in self._present():
            own: set[bytes] = set()
            for sentence in self._sentences[role]:
                key = words_key(sentence.text)
                in_language = key + sentence.language.encode()
                own.add(in_language)
                if in_language in before:
                    self._alike[role] += 1
                counts[sentence.language] += 1
                other = first.setdefault(key, sentence.language)
                if other != sentence.language:
                    one, other = sorted((other, sentence.language), key=self._languages.index)
                    common[one, other] += 1
            before |= own
        for (one, other), number in common.items():
            if number >= FEW and 2 * number > min(counts[one], counts[other]):
                raise GlossaeError(
                    f"corpora.{self._whole}: {number} of {counts[other]} {other} sentences are {one} sentences "
                    "as well: is one text given for both languages?"
                )

    def _why_none(self, role: str, language: str) -> str:
        # what became of the sentences of a role that was cut out of another is told there
        origin = "train" if self._whole == TEXT and role not in self._read else role
        rows = [tally for (of, _, code), tally in self._tallies.items() if (of, code) == (origin, language)]
        fates: Counter[str] = Counter()
        for tally in rows:
            fates.update(tally.dropped)
            fates.update({f"moved to {other}": number for other, number in tally.moved.items()})
        fate = ", ".join(f"{number} {fate}" for fate, number in sorted(fates.items()))
        read = sum(tally.read for tally in rows)
        return f"({self._origins[role]}; {read} read{f': {fate}' if fate else ''})"

    def _drop(self, role: str, sentences: list[Sentence], reason: str) -> None:
        for sentence in sentences:
            self._tally(role, sentence).dropped[reason] += 1

    def _tally(self, role: str, sentence: Sentence) -> Tally:
        return self._tallies[role, sentence.source, sentence.language]

    def roles(self, provenance: dict[str, dict[str, Any]]) -> Roles:
        """The result."""
        corpora = {role: Corpus.of(shuffled(self._sentences[role], self._seed)) for role in self._present()}
        slices: dict[tuple[str, str, str], list[Sentence]] = defaultdict(list)
        for role, corpus in corpora.items():
            for sentence in corpus.sentences:
                slices[role, sentence.source, sentence.language].append(sentence)
        counts = []
        for (role, name, language), tally in sorted(self._tallies.items(), key=self._row_place):
            own = slices[role, name, language]
            dropped, changed, moved = (
                dict(sorted(fact.items())) for fact in (tally.dropped, tally.changed, tally.moved)
            )
            counts.append(
                RoleCount(
                    role=role,
                    name=name,
                    language=language,
                    read=tally.read,
                    sentences=len(own),
                    dropped=dropped,
                    changed=changed,
                    moved=moved,
                    documents=len({s.doc for s in own if s.doc}) or None,
                    sha256=Corpus.of(own).sha256,
                )
            )
        placed = {sentence: place for own in self._in_order.values() for place, sentence in enumerate(own)}
        unknown = {row.language for row in counts if "other_language" in row.dropped}
        return Roles(
            corpora,
            places={role: tuple(placed[s] for s in corpus.sentences) for role, corpus in corpora.items()},
            counts=counts,
            translations_may_straddle=self._straddle,
            cuts={role: self._origins[role] for role in corpora},
            provenance=provenance,
            left_out=tuple(sorted(unknown)) if self._whole == TEXT else (),
            alike=dict(self._alike),
        )

    def _row_place(self, item: tuple[tuple[str, str, str], Tally]) -> tuple[int, str, bool, str]:
        """The sort key of a row: role, source, wanted languages first."""
        role, name, language = item[0]
        return ROLES.index(role), name, language not in self._languages, language


def _divide_by_overlap(
    sentences: Sequence[Sentence], others: Sequence[Sentence]
) -> tuple[list[Sentence], list[Sentence]]:
    """Divide `sentences` into those that share no text, pair or document with one of `others`, and the rest."""
    texts = {(sentence.language, sentence.text) for sentence in others}
    pairs = {sentence.pair for sentence in others}
    docs = {sentence.doc for sentence in others if sentence.doc}
    parts: tuple[list[Sentence], list[Sentence]] = [], []
    for sentence in sentences:
        shares = (sentence.language, sentence.text) in texts or sentence.pair in pairs or sentence.doc in docs
        parts[shares].append(sentence)
    return parts
