"""Half a million sentences are read, cleaned and divided within a gigabyte; `benchmarks/read_text.py` has the clock."""

import random
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from glossae.text import build_roles
roles = build_roles({"train": sys.argv[1]}, target="da", reference="en", seed=0)
# kibibytes on Linux, bytes on macOS
unit = 1 if sys.platform == "darwin" else 1024
print(sum(map(len, roles.corpora.values())), unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_half_a_million_sentences(tmp_path):
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvæøå", k=rng.randint(2, 11))) for _ in range(20_000)]
    path = tmp_path / "large.tsv"
    with path.open("w", encoding="utf-8") as file:
        for i in range(500_000):
            file.write(f"{' '.join(rng.choices(words, k=rng.randint(8, 24)))}\t{i % 2}\n")
    assert path.stat().st_size > 60e6
    output = subprocess.check_output([sys.executable, "-c", PROGRAM, str(path)], text=True)
    sentences, peak = map(int, output.split())
    assert sentences == 500_000
    assert peak < 1e9
