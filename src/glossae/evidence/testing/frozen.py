"""Freeze a selected set of units, and test it again on other text, unit by unit and as one score."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.sparse import csc_array
from scipy.stats import binomtest

from glossae.errors import GlossaeError
from glossae.evidence.testing.auroc import AurocTable, Method, auroc_table, minimum_p
from glossae.evidence.testing.claims import (
    Claim,
    Evidence,
    Within,
    check_panel,
    check_power,
    claim_evidence,
    q_values,
)
from glossae.files import fingerprint, read_json, write_json, writes_here
from glossae.units import SentenceTable


@dataclass(frozen=True)
class FrozenSet:
    """Units that were selected on one text and written to a file before another text was read.

    Only `freeze` and `load_frozen` make one.

    Attributes:
        units: their numbers, best first.
        claim: the claim that they passed, such as `Danish`.
        target: the language that the claim is about.
        inside, outside: the claim's languages on that text.
        minimum, q, method: of the test.
        identity: identifies the units.
        text: the hash of the text that they were selected on.
        hash: of all other attributes.
    """

    units: tuple[int, ...]
    claim: str
    target: str
    inside: tuple[str, ...]
    outside: tuple[str, ...]
    minimum: float
    q: float
    method: Method
    identity: str
    text: str
    hash: str

    def __post_init__(self) -> None:
        if self.hash != _hash(asdict(self)):
            raise GlossaeError(f"the frozen set of {self.claim} was changed: its hash is not {self.hash}")

    def check_units(self, identity: str) -> None:
        """Raise GlossaeError for units of another SAE, site or model; the line names both."""
        if identity != self.identity:
            raise GlossaeError(
                f"the frozen set of {self.claim} is of the units {self.identity}, and these are {identity}"
            )

    def check_text(self, text: str) -> None:
        """Raise GlossaeError if the text with this hash is the one that the set was selected on."""
        if text == self.text:
            raise GlossaeError(
                f"the frozen set of {self.claim} was selected on this very text: test it on another"
            )


def freeze(evidence: Evidence, claim: str, path: Path, *, text: str) -> FrozenSet:
    """Write the units that pass a claim to a file. The false discovery rate is that of all of them together.

    Args:
        evidence: from the text for selecting.
        claim: the claim's name.
        path: a JSON file.
        text: the hash of that text.

    Raises:
        GlossaeError: there is no such claim; another set is frozen in the file; the file cannot be written.
    """
    tested = evidence.claim(claim).claim
    fields: dict[str, Any] = {
        "units": evidence.passing(claim),
        "claim": claim,
        "target": evidence.target,
        "inside": tested.inside,
        "outside": tested.outside,
        "minimum": float(evidence.minimum),
        "q": float(evidence.level),
        "method": evidence.method,
        "identity": evidence.identity,
        "text": text,
    }
    frozen = FrozenSet(**fields, hash=_hash(fields))
    if writes_here(path) and path.exists() and load_frozen(path).hash != frozen.hash:
        raise GlossaeError(f"{path}: another set is frozen there: remove the file, or name another")
    write_json(path, asdict(frozen))
    return frozen


def load_frozen(path: Path) -> FrozenSet:
    """Read a frozen set.

    Raises:
        GlossaeError: the file cannot be read, is not a frozen set, or was changed since.
    """
    try:
        fields = read_json(path)
    except OSError as error:
        raise GlossaeError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise GlossaeError(f"{path}: is not JSON: {error}") from error
    if not isinstance(fields, dict) or set(fields) != {field.name for field in dataclass_fields(FrozenSet)}:
        raise GlossaeError(f"{path}: is not a frozen set")
    try:
        intact = fields["hash"] == _hash(fields)
    except ValueError:
        # a number that is not finite, or half a surrogate pair: it has no hash
        intact = False
    if not intact:
        raise GlossaeError(f"{path}: was changed since it was frozen: bring the file back, or select anew")
    # after the hash, the types are known to be right
    return FrozenSet(**(fields | {key: tuple(fields[key]) for key in ("units", "inside", "outside")}))


@dataclass(frozen=True)
class Replication:
    """The result of testing a frozen set again on another text.

    Attributes:
        frozen: the set.
        text: the hash of the text that it was tested on.
        claim: the claim, with those of its languages that this text has.
        p: for each of the set's units, in its order.
        q: the same as false discovery rates, over the set only.
        passed: which units pass at the set's q.
        share: the share that passes; None if the set is empty.
        low, high: an exact binomial 95 % interval of the share (Clopper and Pearson 1934). Units tested on one
            text depend on each other, so it is approximate.
        auroc: of the set's units, in its order.
    """

    frozen: FrozenSet
    text: str
    claim: Claim
    p: Float[np.ndarray, " units"]
    q: Float[np.ndarray, " units"]
    passed: Bool[np.ndarray, " units"]
    share: float | None
    low: float
    high: float
    auroc: AurocTable


def replicate(
    frozen: FrozenSet, table: SentenceTable, *, text: str, within: Within = "source"
) -> Replication:
    """Test a frozen set again on another text, with the same claim, minimum, method and q.

    The claim is tested against the languages that both texts have. `Replication.auroc` has all languages of
    the table.

    Args:
        frozen: the set; only a set that was written to a file has this type.
        table: all units of the same kind on the other text.
        text: the hash of that text.
        within: as in `units_evidence`.

    Raises:
        GlossaeError: the units differ; the text is the one that the set was selected on; it lacks a language
            inside the claim or all languages outside; its languages come from different sources or have too
            few sentences.
    """
    frozen.check_units(table.identity)
    frozen.check_text(text)
    lacking = [language for language in frozen.inside if language not in table.present]
    outside = tuple(language for language in frozen.outside if language in table.present)
    if lacking or not outside:
        missing = lacking or list(frozen.outside)
        raise GlossaeError(
            f"{frozen.claim}: the other text has no {' and no '.join(missing)}, so it cannot test the claim again"
        )
    claim = Claim(frozen.claim, frozen.inside, outside)
    check_panel(table, within)
    auroc = auroc_table(table.columns(frozen.units))
    check_power(auroc, claim.comparisons, max(len(frozen.units), 1), frozen.minimum, frozen.q)
    found = claim_evidence(auroc, claim, frozen.minimum, frozen.method)
    passed = found.q <= frozen.q
    share, low, high = None, 0.0, 1.0
    if len(passed):
        exact = binomtest(int(passed.sum()), len(passed)).proportion_ci(0.95, method="exact")
        share, low, high = float(passed.mean()), float(exact.low), float(exact.high)
    return Replication(frozen, text, claim, found.p, found.q, passed, share, low, high, auroc)


@dataclass(frozen=True)
class SubsetTest:
    """The test of a frozen set against one language, on some of another text's sentences.

    Attributes:
        other: the language.
        auroc: of the set's units, in its order, on these sentences.
        p: for each unit, of "AUROC of the target over the other is at most the set's minimum".
        reason: why there are too few sentences for any unit to pass; None if there are enough.
    """

    other: str
    auroc: AurocTable
    p: Float[np.ndarray, " units"]
    reason: str | None


def restrict(
    frozen: FrozenSet, table: SentenceTable, other: str, rows: Sequence[int] | np.ndarray, *, text: str
) -> SubsetTest:
    """Test a frozen set's target against one language, on the sentences `rows` of another text.

    Args:
        frozen: the set.
        table: all units of the same kind on that text.
        other: the language.
        rows: numbers of sentences of the target and of `other`, such as matched ones; sentences in further
            languages are ignored.
        text: the hash of the whole text.

    Raises:
        GlossaeError: the units differ, the text is the one that the set was selected on, or one of the two
            languages has no sentence among the rows.
    """
    frozen.check_units(table.identity)
    frozen.check_text(text)
    part = table.columns(frozen.units).take(rows)
    for language in (frozen.target, other):
        if language not in part.present:
            raise GlossaeError(f"{frozen.claim}: none of the chosen sentences is in {language}")
    auroc, reason = auroc_table(part), None
    try:
        check_power(auroc, [(frozen.target, other)], max(len(frozen.units), 1), frozen.minimum, frozen.q)
    except GlossaeError as error:
        reason = str(error)
    p = minimum_p(auroc, frozen.target, other, frozen.minimum, method=frozen.method)
    return SubsetTest(other, auroc, p, reason)


def passing_subsets(frozen: FrozenSet, parts: Sequence[SubsetTest]) -> Bool[np.ndarray, " units"]:
    """Which of a frozen set's units pass against every language of `parts`, at the set's false discovery rate.

    A unit's p-value is the largest over the parts; Benjamini-Hochberg over the set gives q, as in `replicate`.

    Raises:
        GlossaeError: there is no part, or one has too few sentences.
    """
    if not parts:
        raise GlossaeError(f"{frozen.claim}: there is no language to test against")
    for part in parts:
        if part.reason is not None:
            raise GlossaeError(part.reason)
    passed: np.ndarray = q_values(np.max([part.p for part in parts], axis=0)) <= frozen.q
    return passed


@dataclass(frozen=True)
class SetScore:
    """A score of sentences: the mean of a frozen set's standardised values.

    Each unit's value on a sentence is divided by its standard deviation over the sentences that the set was
    selected on, so
    that units with larger values do not weigh more. Means are not subtracted: that would shift all sentences
    alike, and change no rank.

    Attributes:
        units: their numbers.
        deviation: the standard deviation of each on the text that the set was selected on.
        identity: identifies the units.
    """

    units: tuple[int, ...]
    deviation: Float[np.ndarray, " units"]
    identity: str

    @staticmethod
    def of(frozen: FrozenSet, table: SentenceTable) -> "SetScore":
        """The score of a frozen set, scaled by the table that it was selected on.

        Raises:
            GlossaeError: the set is empty, or the table is of other units.
        """
        frozen.check_units(table.identity)
        if not frozen.units:
            raise GlossaeError(
                f"the frozen set of {frozen.claim} is empty: there is nothing to take the mean of"
            )
        values = csc_array(table.columns(frozen.units).values, dtype=np.float64)
        mean = np.asarray(values.mean(axis=0)).ravel()
        squares = np.asarray(values.power(2).mean(axis=0)).ravel()
        return SetScore(frozen.units, np.sqrt(np.maximum(squares - mean**2, 0)), table.identity)

    def values(self, table: SentenceTable) -> Float32[np.ndarray, " sentences"]:
        """The score of every sentence; a unit that was constant on the text that it was selected on adds nothing.

        Raises:
            GlossaeError: the table is of other units.
        """
        if table.identity != self.identity:
            raise GlossaeError(f"these are different units: {self.identity} and {table.identity}")
        weight = np.divide(1.0, self.deviation, out=np.zeros_like(self.deviation), where=self.deviation > 0)
        values = csc_array(table.columns(self.units).values, dtype=np.float64)
        return np.asarray(values @ (weight / len(weight)), dtype=np.float32)

    def auroc(self, table: SentenceTable, rows: Sequence[int] | np.ndarray | None = None) -> AurocTable:
        """AUROC of the score, as the only unit of the result, on all sentences or on those with the numbers `rows`.

        Raises:
            GlossaeError: the table is of other units.
        """
        column = csc_array(self.values(table)[:, None])
        named = f"set {fingerprint({'units': self.units, 'of': self.identity})}"
        silent = csc_array(column.shape, dtype=np.int32)
        scored = replace(table, values=column, fired=silent, identity=named)
        return auroc_table(scored if rows is None else scored.take(rows))


def _hash(fields: dict[str, Any]) -> str:
    return fingerprint({key: value for key, value in fields.items() if key != "hash"})
