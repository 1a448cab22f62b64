"""The memory of reading, cleaning, dividing and tokenizing a text of many sentences in many languages.

    python benchmarks/memory.py [--json] [--sentences 1000000] [--languages 60] [--limit 2.0]

The text is made up: a file for each language, in three scripts, 8 to 24 words a sentence. All is done in one child
process, whose peak memory is printed after each step, with the memory that is held. There is no peer. The exit status
is 1 if the peak is above `--limit`, in GiB.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

# in Latin letters, then in Cyrillic ones, then in Devanagari
CODES = (
    *(
        "da",
        "en",
        "sv",
        "nb",
        "de",
        "nl",
        "fr",
        "es",
        "it",
        "pt",
        "ro",
        "pl",
        "cs",
        "sk",
        "sl",
        "hr",
        "hu",
        "fi",
    ),
    *(
        "et",
        "lv",
        "lt",
        "mt",
        "ga",
        "is",
        "fo",
        "nn",
        "ca",
        "gl",
        "eu",
        "cy",
        "br",
        "lb",
        "af",
        "id",
        "ms",
        "tl",
    ),
    *(
        "sw",
        "so",
        "ru",
        "uk",
        "be",
        "bg",
        "mk",
        "sr",
        "kk",
        "ky",
        "mn",
        "tg",
        "tt",
        "hi",
        "mr",
        "ne",
        "sa",
        "bh",
    ),
    *("ks", "sd", "mai", "gom", "brx", "doi", "kok"),
)
ALPHABETS = ("abcdefghijklmnoprstuvæøå", "абвгдежзиклмнопрстуфхцчшы", "कखगघचछजटडणतथदधनपफबभमयरल")

STEPS = """
import json, resource, sys, time
from pathlib import Path

unit = 1 if sys.platform == "darwin" else 1024
start = time.perf_counter()

def report(step, **facts):
    global start
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[1]) * resource.getpagesize()
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = time.perf_counter() - start
    print(json.dumps({"step": step, "seconds": seconds, "held": held / 1e6, "peak": peak / 1e6, **facts}), flush=True)
    start = time.perf_counter()

from glossae.corpora import build_roles, parse_source
from glossae.lm import load, tokenize
from glossae.toy import toy_model
codes = sys.argv[2:]
lm = load(str(toy_model()))
report("start")
sources = [f"{code}={Path(sys.argv[1]) / code}.txt" for code in codes]
read = sum(1 for source in sources for _ in parse_source(source).read(codes, 0))
report("read", sentences=read)
given = dict(target="da", reference="en", others=codes[2:], seed=0, panel_limit=2000)
roles = build_roles({"text": " ".join(sources)}, **given)
report("roles", sentences=sum(map(len, roles.corpora.values())))
tokens = [tokenize(lm, corpus) for corpus in roles.corpora.values()]
report("tokenize", sentences=sum(map(len, tokens)), tokens=sum(int(each.lengths.sum()) for each in tokens))
"""


def write(folder: Path, number: int, codes: list[str]) -> None:
    """A file for each language, `number` sentences in all."""
    for place, code in enumerate(codes):
        rng = random.Random(place)
        letters = ALPHABETS[min(place // 38, 1) + (place >= 49)]
        words = ["".join(rng.choices(letters, k=rng.randint(2, 11))) for _ in range(20_000)]
        with (folder / f"{code}.txt").open("w", encoding="utf-8") as file:
            for _ in range(number // len(codes)):
                file.write(" ".join(rng.choices(words, k=rng.randint(8, 24))) + "\n")


def main() -> None:
    """Measure, and print a line for each step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line for programs")
    parser.add_argument("--sentences", type=int, default=1_000_000)
    parser.add_argument("--languages", type=int, default=60)
    parser.add_argument("--limit", type=float, default=2.0, help="the most memory, in GiB")
    options = parser.parse_args()
    codes, cases = list(CODES[: options.languages]), []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.sentences, codes)
        command = [sys.executable, "-c", STEPS, folder, *codes]
        with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as child:
            for line in child.stdout or ():
                case = json.loads(line)
                cases.append(case)
                print(
                    f"{case['step']:9} {case.get('sentences', 0):9,} sentences {case['seconds']:7.1f} s "
                    f"{case['held']:6.0f} MB held {case['peak']:6.0f} MB peak",
                    flush=True,
                )
        if child.returncode:
            raise SystemExit(f"the child process left with {child.returncode}")
    if options.json:
        print(json.dumps({"cases": cases}))
    if cases[-1]["peak"] * 1e6 > options.limit * 2**30:
        raise SystemExit(f"the peak is above {options.limit} GiB")


if __name__ == "__main__":
    main()
