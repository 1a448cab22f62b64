"""A stream of text read, cleaned and tokenized into the cache on disk: how fast, in how much memory and of what size.

    python benchmarks/stream.py [--json] [--shards 1,4] [--model toy]

Every size is a process of its own, so that its peak memory is its own: it should be the same for a stream four times as
long. The text is that of read_text.py, a gzip of a sentence a line. Then, of the same stream: what it takes to use what
is kept, to go through the texts of one epoch, and to read on from the middle, which is what a reading that was killed
costs. There is no peer.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from glossae.lm.token_cache import SHARD_TOKENS
from read_text import sentences

READING = """
import json, resource, sys, time
from glossae.corpora import Taken, parse_stream
from glossae.lm import load, stream_tokens
from glossae.toy import toy_model
path, wanted, model = sys.argv[1], int(sys.argv[2]), sys.argv[3]
lm = load(str(toy_model()) if model == "toy" else model)
unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
before, seconds = peak(), []
def timed(work):
    start = time.perf_counter()
    found = work()
    seconds.append(time.perf_counter() - start)
    return found
read = lambda: stream_tokens(lm, parse_stream(path), tokens=wanted, longest=256)
found = timed(read)
timed(read)
timed(lambda: sum(len(found.take(chunk)) for chunk in found.chunks(2**15, 0)))
middle = found.texts // 2
timed(lambda: next(parse_stream(path).documents([Taken(middle, 0)])))
print(json.dumps([found.texts, found.tokens, *seconds, before, peak()]))
"""
# of a sentence, at least, whatever the tokenizer
TOKENS = 30
NAMES = ("texts", "tokens", "read", "again", "epoch", "middle", "before", "peak")


def measured(shards: int, model: str) -> dict[str, float]:
    """Read a stream of so many shards in a process of its own; seconds, and memory in MB."""
    wanted = shards * SHARD_TOKENS
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "text.txt.gz"
        with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
            file.writelines(f"{text}.\n" for text in sentences(wanted // TOKENS))
        environment = os.environ | {"GLOSSAE_CACHE": name}
        command = [sys.executable, "-c", READING, str(path), str(wanted), model]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        kept = sum(file.stat().st_size for file in Path(name).glob("tokens/*/*.safetensors"))
    return dict(zip(NAMES, json.loads(done.stdout.splitlines()[-1]), strict=True)) | {"kept": kept}


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--shards", default="1,4", help="sizes of streams")
    parser.add_argument("--model", default="toy", help="whose tokenizer")
    options = parser.parse_args()
    rows = {}
    for number in map(int, options.shards.split(",")):
        row = rows[number] = measured(number, options.model)
        above, rate = row["peak"] - row["before"], row["tokens"] / row["read"]
        print(f"{row['tokens']:,} tokens: {rate:,.0f} a second; {row['kept'] / 1e6:.1f} MB kept", end="; ")
        print(f"peak {row['peak']:,.0f} MB, {above:,.0f} above the model's", end="; ")
        print(
            f"again {row['again']:.2f} s, an epoch {row['epoch']:.2f} s, to the middle {row['middle']:.2f} s"
        )
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
