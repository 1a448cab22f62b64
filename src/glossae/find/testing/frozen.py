"""A selected set that can no longer change, and whether it holds on another text."""

import json
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binomtest

from glossae.errors import GlossaeError
from glossae.files import fingerprint, write_json
from glossae.find.testing.auroc import AurocTable, auroc_table
from glossae.find.testing.claims import Claim
from glossae.find.testing.families import Evidence, claim_evidence
from glossae.find.testing.minimum import Method
from glossae.find.testing.panel import Within, check_panel, check_power
from glossae.units import SentenceTable


@dataclass(frozen=True)
class FrozenSet:
    """Units that were selected on one text, written down before another was opened.

    There are two ways to one: `freeze`, which writes it, and `load_frozen`, which reads what was written. Its hash is
    over everything else in it.

    Attributes:
        units: their numbers, best first.
        claim: what they passed, such as `Danish`.
        target: the language that the claim is about.
        inside, outside: the claim's languages on that text.
        minimum, q, method: of the test.
        identity: whose units these are.
        text: the hash of the text that they were selected on.
        hash: of all the above.
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
            raise GlossaeError(
                f"the frozen set of {self.claim} is not what it was: its hash is not {self.hash}"
            )

    def check_units(self, identity: str) -> None:
        """Refuse the units of another autoencoder, site or model.

        Raises:
            GlossaeError: naming both.
        """
        if identity != self.identity:
            raise GlossaeError(
                f"the frozen set of {self.claim} is of the units {self.identity}, and these are {identity}"
            )

    def check_text(self, text: str) -> None:
        """Refuse the text that the set was selected on, by its hash.

        Raises:
            GlossaeError: it is that text.
        """
        if text == self.text:
            raise GlossaeError(
                f"the frozen set of {self.claim} was selected on this very text: test it on another"
            )


def freeze(evidence: Evidence, claim: str, path: Path, *, text: str) -> FrozenSet:
    """Write down the units that pass a claim. The false discovery rate is that of all of them together.

    Args:
        evidence: from the text that may be looked at for selecting.
        claim: its name.
        path: a JSON file.
        text: the hash of that text.

    Raises:
        GlossaeError: there is no such claim; another set is frozen there; the file cannot be written.
    """
    tested = evidence.claim(claim).claim
    fields = {
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
    frozen = _of(fields | {"hash": _hash(fields)}, path)
    if path.exists() and load_frozen(path).hash != frozen.hash:
        raise GlossaeError(f"{path}: another set is frozen there: remove the file, or name another")
    write_json(path, asdict(frozen))
    return frozen


def load_frozen(path: Path) -> FrozenSet:
    """Read a frozen set.

    Raises:
        GlossaeError: the file cannot be read, is none, or was changed since.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GlossaeError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise GlossaeError(f"{path}: is not JSON: {error}") from error
    return _of(fields, path)


@dataclass(frozen=True)
class Replication:
    """A frozen set tested again on another text.

    Attributes:
        frozen: the set.
        text: the hash of the text it was tested on.
        claim: the claim, against those of its languages that this text has.
        p: of each of the set's units, in its order.
        q: the same as false discovery rates, over the set only.
        passed: which units pass at the set's q.
        share: how many of the set do; None if the set is empty.
        low, high: the ends of an exact binomial interval of the share, 95 % (Clopper and Pearson 1934). Units
            that are tested on one text depend on each other, so it is a guide rather than exact.
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
    """Test a frozen set again on a text that was not looked at before: the same claim, minimum, method and q.

    The claim is held against the languages that both texts have: a language that the set was never told from is no
    part of what is replicated. `Replication.auroc` has it all the same.

    Args:
        frozen: the set; only a set that was written down has this type.
        table: the same units on the other text, all of them.
        text: the hash of that text.
        within: as in `test_units`.

    Raises:
        GlossaeError: the units are others; it is the text that the set was selected on; it lacks a language inside the
            claim or all that are outside; its languages come from different sources or have too few sentences.
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


def _hash(fields: dict[str, object]) -> str:
    return fingerprint({key: value for key, value in fields.items() if key != "hash"})


def _of(fields: object, path: Path) -> FrozenSet:
    """A frozen set from what a file has, or is about to have."""
    names = {field.name for field in dataclass_fields(FrozenSet)}
    if not isinstance(fields, dict) or set(fields) != names:
        raise GlossaeError(f"{path}: is not a frozen set")
    try:
        intact = fields["hash"] == _hash(fields)
    except ValueError:
        # not a finite number, or half a character: it has no hash
        intact = False
    if not intact:
        raise GlossaeError(f"{path}: was changed since it was frozen: bring the file back, or select anew")
    # only now is anything known of its types
    return FrozenSet(**(fields | {key: tuple(fields[key]) for key in ("units", "inside", "outside")}))
