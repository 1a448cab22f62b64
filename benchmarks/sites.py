"""Where to put an autoencoder (the paper's section 6.4): `mlp.hidden` against `resid`, all else equal.

    python benchmarks/sites.py [--json] [--model FOLDER] [--layers 3,4,5] [--latents 2048] [--k 32] [--limit 6000]

For each layer and site a run of the recipe `pythia-14m`, up to the sweep, on the same text with the same number of
latents and the same k: FVU and recovered loss by language, dead latents, the rates of the first latent that the rule
or the fallback takes, and what the reference loses when the target has lost 0.3 nats. It needs the text and the model
that lie beside the checkout, in `../shared`, or your own by flags.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import torch

from glossae.cli import main as glossae
from glossae.run import open_run

SHARED = Path(__file__).parents[2] / "shared"
SITES = ("mlp.hidden", "resid")


def run(site: str, layer: int, arguments: argparse.Namespace, out: Path) -> dict[str, object]:
    """The numbers of one run."""
    flags = {
        "model": arguments.model,
        "site": site,
        "layer": layer,
        "corpora.train": arguments.train,
        "corpora.select": arguments.select,
        "corpora.test": arguments.test,
        "corpora.limit": arguments.limit,
        "sae.latents": arguments.latents,
        "sae.k": arguments.k,
        "sae.epochs": arguments.epochs,
        "probe.seeds": 1,
        "probe.tokens": 2000,
        "probe.lambdas": "1",
        "effects.bootstrap": 20,
        "effects.prompts": "false",
        "device": "cpu",
    }
    line = ["run", "pythia-14m", "--out", str(out), "--quiet", *(f"--{k}={v}" for k, v in flags.items())]
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        if glossae(line) != 0:
            raise SystemExit(f"glossae {' '.join(line)} failed")
    results = open_run(out).results
    sae, features = results.sae, results.features
    row: dict[str, object] = {
        "site": site,
        "layer": layer,
        "d_in": sae.d_in,
        "latents": sae.latents,
        "k": sae.k,
        "tokens": sae.train_tokens,
        "fvu": {code: sae.fvu[code] for code in ("da", "en")},
        "recovered": {code: sae.ce[code].recovered for code in ("da", "en")},
        "dead_fraction": sae.dead_fraction,
        "rule": features.rule,
        "units": len(features.units),
        "best_rate": features.units[0].rate if features.units else None,
        "seconds": time.perf_counter() - started,
    }
    for reached in results.next_token["selectivity"]:
        if (reached["at"], reached["versus"], reached["splice"]) == (0.3, "en", False) and reached["reached"]:
            row["english_at_0.3"] = reached["other_delta"]
    return row


def main() -> None:
    """Run every site at every layer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--model", default=str(SHARED / "models" / "tiny-da-en"))
    parser.add_argument("--train", default=str(SHARED / "data" / "tedtalks_train.tsv"))
    parser.add_argument("--select", default=str(SHARED / "data" / "tedtalks_test.tsv"))
    parser.add_argument("--test", default=str(SHARED / "data" / "ELRC_2923.tmx"))
    parser.add_argument("--layers", default="3,4,5")
    parser.add_argument("--latents", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    for path in (arguments.model, arguments.train, arguments.select, arguments.test):
        if not Path(path).exists():
            print(f"{path} is not here: nothing was measured (give a model and text of your own by flags)")
            return
    torch.set_num_threads(arguments.threads)
    rows = []
    print(
        "site        layer  width  FVU da  FVU en  recovered da, en   dead  rule      best latent da, en   "
        "English at 0.3"
    )
    with tempfile.TemporaryDirectory() as folder:
        for layer in map(int, arguments.layers.split(",")):
            for site in SITES:
                row = run(site, layer, arguments, Path(folder) / f"{site}-{layer}")
                rows.append(row)
                fvu, recovered, best = row["fvu"], row["recovered"], row["best_rate"]
                rates = f"{best['da']:6.1%} {best['en']:6.2%}" if best else "      none   "
                damage = f"{row['english_at_0.3']:.3f}" if "english_at_0.3" in row else "not reached"
                print(
                    f"{site:11} {layer:5} {row['d_in']:6} {fvu['da']:7.3f} {fvu['en']:7.3f} "
                    f"{recovered['da']:9.1%} {recovered['en']:7.1%} {row['dead_fraction']:8.1%}  "
                    f"{row['rule']:8} {rates:>18} {damage:>11}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps({"cases": rows}))


if __name__ == "__main__":
    main()
