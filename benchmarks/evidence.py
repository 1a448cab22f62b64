"""Which units are Danish, at full size: seconds and memory of each part, beside plain scipy, scikit-learn and numpy.

    python benchmarks/evidence.py [--json] [--text translations independent] [--tokens 100000] [--latents 16384]
        [--k 32] [--permutations 1000] [--repeats 2] [--d-in 512] [--threads 2] [--units 40]

No language model runs. What a TopK autoencoder would give is drawn: k of the latents at each token, without
replacement, by how often each fires. Those rates are spread over three orders of magnitude and differ from language to
language; 48 latents a language and 24 a group of them belong to it. A third of a sentence's draws are from a topic of
its own, which translations share. Everything after that is the library's: `Counter` in batches of 4,096 tokens,
then `units_evidence`, whose parts are timed from within. The autoencoder's encode is timed by itself, on noise.

The plain versions go unit by unit and comparison by comparison: `scipy.stats.mannwhitneyu` and scikit-learn's
`roc_auc_score` for the AUROC table, which has standard errors besides; and for either kind of draws a numpy loop that
deals the labels out anew and adds up the target's ranks. They are timed on `--units` units, of all degrees of
firing, and one comparison, and multiplied. `dense product` is what numpy does for all units at once where memory is
no matter: ranks laid out in full, and one product with all deals, standardised; timed on one comparison.

Seconds are wall clock and, where other work shares the cores, the better measure: processor time over all threads.
Of several repeats the one with the least of that is shown. Peak memory is of the whole process, with the libraries and
the drawn codes in it (on Linux; elsewhere it is left out).
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

# as the command line has it; before torch starts its threads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import numpy as np
import torch
from scipy.stats import mannwhitneyu, rankdata
from sklearn.metrics import roc_auc_score

from evidence_codes import LANGUAGES, Drawn, draw_codes, draw_text
from glossae.evidence import testing
from glossae.evidence.testing import claims as tested
from glossae.lm import TokenizedCorpus
from glossae.sae import Sae, SaeConfig
from glossae.units import Counter, Latents, SentenceTable, UnitStatistics

TARGET, REFERENCE = "da", "en"
BUDGET = 4096
TEXTS = ("translations", "independent")
SKETCHED = 65_536, 8
COUNTING = "statistics, sketches and table"
INNER = {"auroc_table": "AUROC table", "permute": "permutations", "multipliers": "max-T multipliers"}
BEYOND = (COUNTING, *INNER.values(), "rest of units_evidence")


class Many(Latents):
    """So many latents that only their statistics fit."""

    identity = "latent - many"

    def __len__(self) -> int:
        return SKETCHED[0]


@dataclass
class Part:
    """What a part took: seconds, seconds of processor time, and the process's peak of memory in it, in bytes."""

    seconds: float = 0.0
    processor: float = 0.0
    peak: int = 0


class Parts(dict[str, Part]):
    """Parts by name."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure a part."""
        part = self.setdefault(name, Part())
        _forget_peak()
        start, processor = time.perf_counter(), time.process_time()
        yield
        part.seconds += time.perf_counter() - start
        part.processor += time.process_time() - processor
        part.peak = max(part.peak, _peak())

    def measured(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        """A function whose calls are a part."""

        def call(*args: object, **kwargs: object) -> object:
            with self.part(name):
                return function(*args, **kwargs)

        return call


def _forget_peak() -> None:
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _peak() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def encode(tokens: int, options: argparse.Namespace) -> None:
    """What the autoencoder adds to a pass."""
    sae = Sae(SaeConfig(d_in=options.d_in, latents=options.latents, k=options.k)).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in sae.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / options.d_in**0.5
    units, x = Latents(sae), torch.randn(BUDGET, options.d_in, generator=generator)
    for first in range(0, tokens, BUDGET):
        units.fired(x[: tokens - first])


def count(
    text: TokenizedCorpus, codes: Drawn, parts: Parts, *, table: bool
) -> tuple[UnitStatistics, SentenceTable | None]:
    """One pass over the codes, in batches of whole sentences."""
    lengths = text.lengths
    ends, first = np.cumsum(lengths), 0
    with parts.part(COUNTING if table else "statistics and sketches alone"):
        counter = Counter(codes, text, table=table)
        while first < len(lengths):
            start = int(ends[first] - lengths[first])
            last = max(first + 1, int(np.searchsorted(ends, start + BUDGET, "right")))
            sentence = torch.from_numpy(np.repeat(np.arange(first, last), lengths[first:last]))
            counter.add(torch.arange(start, int(ends[last - 1]))[:, None].float(), sentence)
            first = last
        return counter.finish()


def evidence_of(table: SentenceTable, parts: Parts, permutations: int) -> testing.Evidence:
    """`units_evidence`, and its parts by themselves."""
    patched = {name: parts.measured(label, getattr(tested, name)) for name, label in INNER.items()}
    # the peaks of the parts are forgotten one by one, so all of it is measured without
    start, processor = time.perf_counter(), time.process_time()
    with mock.patch.multiple(tested, **patched):
        found = testing.units_evidence(table, TARGET, permutations=permutations)
    inner = [parts[label] for label in INNER.values() if label in parts]
    parts["rest of units_evidence"] = Part(
        time.perf_counter() - start - sum(part.seconds for part in inner),
        time.process_time() - processor - sum(part.processor for part in inner),
    )
    return found


def plain(table: SentenceTable, units: int, permutations: int) -> dict[str, float]:
    """Processor seconds that one unit and comparison take, of the plain versions."""
    one, other = table.rows(TARGET), table.rows(REFERENCE)
    stored = np.diff(table.values.indptr)
    # every so many units in the order of how often they fire
    chosen = np.argsort(stored, kind="stable")[:: max(1, table.units // units)][:units]
    values = table.values[:, chosen].toarray().astype(np.float64)
    labels = np.repeat([True, False], [len(one), len(other)])
    rows = np.concatenate([one, other])
    generator = np.random.default_rng(0)
    seconds = {}

    def timed(name: str, function: Callable[[np.ndarray], object]) -> None:
        start = time.process_time()
        for column in values[rows].T:
            function(column)
        seconds[name] = (time.process_time() - start) / len(chosen)

    def deals(column: np.ndarray) -> list[float]:
        ranks = rankdata(column)
        return [ranks[generator.permutation(labels)].sum() for _ in range(permutations)]

    timed("mannwhitneyu", lambda column: mannwhitneyu(column[labels], column[~labels], alternative="greater"))
    timed("roc_auc_score", lambda column: roc_auc_score(labels, column))
    timed("permutations", deals)
    start = time.process_time()
    ranks = rankdata(table.values.tocsr()[rows].toarray(), axis=0)
    dealt = np.stack([generator.permutation(labels) for _ in range(permutations)])
    # ranks may be halves, and float32 holds their sums exactly enough for a maximum
    sums = dealt.astype(np.float32) @ (ranks - ranks.mean(0)).astype(np.float32)
    (sums / np.maximum(ranks.std(0), 1e-9).astype(np.float32)).max(1)
    seconds["dense product"] = (time.process_time() - start) / table.units
    return seconds


def measure(text_kind: str, options: argparse.Namespace) -> dict[str, object]:
    """One run, from drawing to evidence."""
    generator = np.random.default_rng(0)
    text = draw_text(options.tokens, text_kind == "translations", generator)
    codes = draw_codes(text, options.latents, options.k, generator)
    parts = Parts()
    with parts.part("encode, by itself"):
        encode(options.tokens, options)
    count(text, codes, parts, table=False)
    statistics, table = count(text, codes, parts, table=True)
    assert table is not None
    found = evidence_of(table, parts, options.permutations)
    comparisons = {pair for one in found.claims for pair in one.claim.comparisons}
    pairs = len(LANGUAGES) * (len(LANGUAGES) - 1) // 2
    wanted = {"mannwhitneyu": pairs, "roc_auc_score": pairs, "permutations": len(comparisons)}
    wanted["dense product"] = len(comparisons)
    each = plain(table, options.units, options.permutations)
    whole = {name: each[name] * options.latents * times for name, times in wanted.items()}
    against = [("mannwhitneyu", "AUROC table"), ("roc_auc_score", "AUROC table")]
    draws = [label for label in ("permutations", "max-T multipliers") if label in parts]
    against += [(name, label) for name in ("permutations", "dense product") for label in draws]
    arrays = [each for m in (table.values, table.fired) for each in (m.data, m.indices, m.indptr)]
    many = Many(Sae(SaeConfig(d_in=2, latents=2, k=1)))
    return {
        "text": text_kind,
        "sentences": len(table),
        "entries": int(table.values.nnz),
        "share_stored": table.values.nnz / (len(table) * table.units),
        "comparisons": len(comparisons),
        "passing": {one.claim.name: len(found.passing(one.claim.name)) for one in found.claims},
        "parts": {name: asdict(part) for name, part in parts.items()},
        "seconds": sum(parts[name].seconds for name in BEYOND if name in parts),
        "processor_seconds": sum(parts[name].processor for name in BEYOND if name in parts),
        "statistics_bytes": statistics.nbytes,
        "table_bytes": sum(array.nbytes for array in arrays),
        "statistics_65536_by_8_bytes": UnitStatistics.empty(tuple("abcdefgh"), many).nbytes,
        "plain_seconds": whole,
        "ratios": {f"{name} / {label}": whole[name] / parts[label].processor for name, label in against},
    }


def show(result: dict) -> None:
    """A run, for people."""
    print(
        f"{result['text']}: {result['sentences']:,} sentences, {result['entries']:,} entries "
        f"({result['share_stored']:.1%}), {result['comparisons']} comparisons; units that pass: {result['passing']}"
    )
    print(f"  {'':34}{'seconds':>9}{'processor':>11}{'peak MB':>9}")
    for name, part in result["parts"].items():
        peak = f"{part['peak'] / 1e6:9.0f}" if part["peak"] else ""
        print(f"  {name:34}{part['seconds']:9.2f}{part['processor']:11.2f}{peak}")
    print(f"  {'beyond the model and encode':34}{result['seconds']:9.2f}{result['processor_seconds']:11.2f}")
    for name, seconds in result["plain_seconds"].items():
        print(f"  {'plain ' + name + ', extrapolated':34}{'':9}{seconds:11.0f}")
    print("  ratios: " + ", ".join(f"{name} {ratio:,.0f}" for name, ratio in result["ratios"].items()))
    print(
        f"  statistics {result['statistics_bytes'] / 1e6:.0f} MB, table {result['table_bytes'] / 1e6:.0f} MB; "
        f"statistics of 65,536 latents and 8 languages {result['statistics_65536_by_8_bytes'] / 1e6:.1f} MB",
        flush=True,
    )


def main() -> None:
    """Measure both kinds of text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line for programs")
    parser.add_argument("--text", choices=TEXTS, nargs="+", default=TEXTS)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--latents", type=int, default=16_384)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--d-in", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--units", type=int, default=40, help="that the plain versions are timed on")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = []
    for text in options.text:
        runs = [measure(text, options) for _ in range(options.repeats)]
        results.append(min(runs, key=lambda run: run["processor_seconds"]))
        show(results[-1])
    if options.json:
        print(json.dumps({"cases": results}))


if __name__ == "__main__":
    main()
