"""Run the recipe `find` on public models, keep its small files, and write docs/measured.md from them.

    python results/make.py FOLDER [NAME ...]     run the models (all, or those named), then write the page
    python results/make.py                       only write docs/measured.md from the files in results/

FOLDER has `models/NAME`, one folder per model, and `data/` with the text of `TEXT` and `REPLICATE` (Europarl in six
languages, a Bokmål treebank, Tatoeba pairs); neither is part of this repository. `make results FROM=FOLDER` runs this.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from glossae.results import Baselines, BestDose, LossChange, NearestLanguage, Results, TaskScore, read_results
from glossae.run import headlines

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "measured.md"
MODELS = {
    "gemma-3-270m": "Gemma-3-270M (multilingual; 4-bit weights turned back to bfloat16)",
    "smollm2-135m-instruct": "SmolLM2-135M-Instruct (English; 4-bit weights turned back to bfloat16)",
    "tiny-da-en": "tiny-da-en (6 layers of width 256, our own; it has read some of this text)",
}
TEXT = (
    "da=data/parallel/europarl_20k.da,en=data/parallel/europarl_20k.en "
    "sv=data/languages/sv.txt de=data/languages/de.txt nl=data/languages/nl.txt fr=data/languages/fr.txt "
    "nb=data/languages_ud/nb.txt"
)
REPLICATE = (
    "cols:en,da,-:data/parallel/tatoeba_en_da_dan.txt cols:en,sv,-:data/parallel/tatoeba_en_sv_swe.txt "
    "cols:en,nb,-:data/parallel/tatoeba_en_nb_nob.txt"
)
# The paper hopes that a dose lowers the Danish loss or improves a Danish task. This is the paper's own sweep, on text
# that the SAE was not trained on, of the latents that pass the rate rule there and of the comparison sets.
HOPE = (
    *("--corpora.train", "data/tedtalks_train.tsv", "--corpora.test", "data/tedtalks_test.tsv"),
    *("--features.rule", "paper", "--baselines.untrained", "0"),
    *("--effects.sweep", "true", "--effects.sentences", "48", "--effects.prompts", "false"),
    *("--tasks.names", "angry-tweets:da=data/tasks/angry_tweets scala-da:da=data/tasks/scala_da"),
    *("--tasks.rows", "400"),
)
KEPT = ("recipe.yaml", "results.json", "report.html")
# what is not the recipe's default
SETTINGS: dict[str, list[str]] = {"tiny-da-en": ["--sae.latents", "512", "--evidence.minimum", "0.6"]}


def command(name: str) -> list[str]:
    """The command of a run, as typed in FOLDER."""
    return [
        *("glossae", "run", "find", "--model", f"models/{name}", "--target", "da", "--text", TEXT),
        *("--corpora.replicate", REPLICATE, "--out", f"runs/{name}", *SETTINGS.get(name, [])),
    ]


def hope(folder: Path, name: str) -> list[str]:
    """The command that tests the paper's hope, with the SAE of the run in FOLDER at its layer."""
    found = json.loads((folder / "runs" / name / "results.json").read_text(encoding="utf-8"))
    return [
        *("glossae", "run", "find", "--model", f"models/{name}", "--target", "da"),
        *("--layer", str(found["sae"]["layer"])),
        *("--sae.from", f"runs/{name}/sae", "--out", f"runs/{name}-hope", *HOPE),
    ]


def run(folder: Path, name: str) -> None:
    """Run one model in FOLDER, then the paper's hope with its SAE; copy the kept files; run the grid."""
    subprocess.run([sys.executable, "-m", *command(name)], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", *hope(folder, name)], cwd=folder, check=True)
    keep(folder, name)
    subprocess.run([sys.executable, HERE / "grid.py", folder, name], check=True)


def keep(folder: Path, name: str) -> None:
    """Copy the small files of a run in FOLDER to results/."""
    out, kept = folder / "runs" / name, HERE / name
    kept.mkdir(exist_ok=True)
    for file in KEPT:
        shutil.copyfile(out / file, kept / file)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    facts = {
        "seconds": {stage: round(row["seconds"], 1) for stage, row in record["stages"].items()},
        "peak_memory_mb": round(max(row["peak_memory_mb"] for row in record["stages"].values())),
        "threads": record["threads"],
        "versions": record["versions"],
        "habits": {key: record["habits"][f"models/{name}"][key] for key in HABITS},
    }
    (kept / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    hoped = out.with_name(f"{name}-hope") / "results.json"
    if hoped.is_file():
        results = json.loads(hoped.read_text(encoding="utf-8"))
        own = {key: results[key] for key in ("features", "tasks")}
        own |= {"best_dose": results["next_token"]["best_dose"], "corpora": results["corpora"]}
        (kept / "hope.json").write_text(json.dumps(own, indent=1) + "\n", encoding="utf-8")


HABITS = ("bos", "tokenizer_adds_bos", "loss_with_bos", "loss_without_bos", "sentences", "sinks")


def measured() -> str:
    """The text of docs/measured.md: every table is made from one key of one file in results/."""
    parts = [HEAD]
    for name, words in MODELS.items():
        if (HERE / name / "results.json").is_file():
            results = read_results(Results, HERE / name / "results.json")
            facts = json.loads((HERE / name / "run.json").read_text(encoding="utf-8"))
            parts += [f"## {words}\n", _model(name, results, facts)]
            for file, table in (("hope.json", _hope), ("grid.json", _grid)):
                if (HERE / name / file).is_file():
                    parts += [table(name)]
    return "\n".join(parts)


HEAD = """\
# Results on public models

`results/make.py` writes this page from the files in `results/`, which `make results FROM=FOLDER`
creates. Each table names its file and key. The recipe is `find` with its defaults (`results/make.py` lists the
exceptions), target Danish, reference English, on two shared CPU cores without a GPU. The text is Europarl in
Danish, English, Swedish, German, Dutch and French, and a Bokmål treebank. Units are selected on half of a
panel, and tested again on the other half and on Tatoeba. Losses are in nats per token on sentences that nothing
was fitted to, with 95 % intervals over sentences. In the panel, Bokmål is from another kind of text than the
other languages, so only Tatoeba, with one kind of text for all, separates Danish from Bokmål.
"""


def _model(name: str, results: Results, facts: dict[str, Any]) -> str:
    place = f"results/{name}"
    habits, sae, found, probe = facts["habits"], results.sae, results.baselines, results.probe
    layer = probe.layer_used if probe else sae.layer
    sinks = [row for row in habits["sinks"] if row["count"]]
    minutes = sum(facts["seconds"].values()) / 60
    lines = [
        "The last lines of the run:\n",
        "\n".join(["```text", *headlines(results, "da", "en"), "```\n"]),
        f"Run: {minutes:.0f} minutes on {facts['threads']} threads, {facts['peak_memory_mb'] / 1000:.1f} GB "
        f"(`{place}/run.json`: {', '.join(f'{s} {v:.0f} s' for s, v in facts['seconds'].items())}).\n",
        f"BOS: {'on' if habits['bos'] else 'off'}; loss with one {_n(habits['loss_with_bos'], 2)}, without "
        f"{_n(habits['loss_without_bos'], 2)}. Attention sinks at `resid` of {len(sinks)} of "
        f"{len(habits['sinks'])} layers (`run.json: habits`).\n",
        f"Layer {layer}, {sae.latents:,} latents, k {sae.k}, {sae.train_tokens:,} tokens; "
        f"{100 * sae.dead_fraction:.0f} % dead (`results.json: sae`). "
        + (f"Unsound: {' '.join(sae.unsound)}" if sae.unsound else "Nothing is unsound by the stated bounds.")
        + "\n",
        _table(
            ("language", "FVU", "loss", "spliced", "± "),
            [
                (
                    code,
                    _n(sae.fvu.get(code), 2),
                    _n(ce.raw, 2),
                    _n(ce.spliced, 2),
                    _n(ce.half_width, 2),
                )
                for code, ce in sae.ce.items()
            ],
        ),
    ]
    if probe and probe.nearest:
        lines += [_layers(probe.nearest)]
    if found is None or found.reason is not None:
        return "\n".join([*lines, f"Baselines: {None if found is None else found.reason}\n"])
    places = list(found.autoencoders[0].again)
    lines += [
        f"Units passing the same test, for trained SAEs and baselines: AUROC over {found.minimum:g} against each of "
        f"{', '.join(found.outside)} at q {found.q:g} (`results.json: baselines.autoencoders`).\n",
        _table(
            ("units", "seed", "passing", "rate rule", "best, least AUROC", *places, "stable"),
            [
                (
                    row.group,
                    row.seed,
                    row.passing,
                    "–" if row.paper is None else row.paper,
                    _n(row.weakest, 2),
                    *(f"{row.again[p].best:.2f} ({row.again[p].above} of {row.again[p].of})" for p in places),
                    _n(row.stable, 2),
                )
                for row in found.autoencoders
            ],
        ),
        "Rise of the loss with latents switched off, trained less untrained SAEs, nats per token "
        "(`results.json: baselines.adds`).\n",
        _table(
            ("", "latents", "trained", "untrained", "difference"),
            [
                (
                    {"target": "rise of da", "margin": "rise of da less the nearest language's"}[row.what],
                    row.size,
                    f"{row.trained:+.3f}",
                    f"{row.untrained:+.3f}",
                    f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]",
                )
                for row in found.differences
            ],
        ),
        "Change of loss with units switched off, or turned down until the Danish loss on tune has risen by `at`: nats "
        "per token, means over seeds (`results.json: baselines.sets` also has the intervals).\n",
        _sets(found),
    ]
    return "\n".join(lines)


def _hope(name: str) -> str:
    """Tables on the paper's hope that a dose lowers the target's loss or improves a task."""
    found = json.loads((HERE / name / "hope.json").read_text(encoding="utf-8"))
    tasks = [
        row
        for row in map(TaskScore.model_validate, found["tasks"])
        if row.edit not in ("raw", "none") and row.metric == "macro_f1"
    ]
    return "\n".join(
        [
            "Does a dose lower the Danish loss, as the paper hopes? For each set, the edit of lowest loss on tune, and "
            f"its change of loss on test, in nats per token, on TED talks (`results/{name}/hope.json: best_dose`). "
            "Changes of spliced edits are from the reconstruction without an edit. Latents are set to multiples of "
            "their 99th percentile on Danish text.\n",
            _table(
                ("units", "spliced", "edit", "on tune", "on test"),
                [
                    (
                        row.units,
                        "yes" if row.splice else "no",
                        _edit(row),
                        f"{row.tune_delta:+.4f}",
                        f"{row.delta:+.4f} [{row.ci_low:+.4f}, {row.ci_high:+.4f}]",
                    )
                    for row in map(BestDose.model_validate, found["best_dose"])
                ],
            ),
            f"Danish tasks at each dose (`results/{name}/hope.json: tasks`): macro-F1, and its change from no edit "
            "(for spliced edits: from the splice without an edit). All doses are shown, because tasks have no text for "
            "choosing one. `label` projects out the directions that separate the labels: a check that the test finds "
            "a known effect.\n",
            _table(
                ("task", "units", "spliced", "edit", "score", "change", "p"),
                [
                    (
                        row.task,
                        row.units,
                        "yes" if row.splice else "no",
                        _edit(row),
                        f"{row.score:.3f}",
                        f"{row.delta:+.3f} [{row.delta_low:+.3f}, {row.delta_high:+.3f}]",
                        "–" if row.p is None else f"{row.p:.3f}",
                    )
                    for row in tasks
                ],
            ),
        ]
    )


def _edit(row: BestDose | TaskScore) -> str:
    return row.edit if row.value is None else f"{row.edit} {row.value:g}"


def _grid(name: str) -> str:
    """The table of results/grid.py: chosen on tune, shown on test, with mean and range over seeds."""
    grid = json.loads((HERE / name / "grid.json").read_text(encoding="utf-8"))
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in grid["rows"]:
        key = tuple(row.get(k) for k in ("site", "layer", "latents", "k", "kind", "group"))
        groups.setdefault(key, []).append(row)
    rows = []
    for (site, layer, latents, k, kind, group), own in groups.items():
        learnt = group in ("trained", "untrained")
        off = {code: sum(row["off"][code][0] for row in own) / len(own) for code in own[0].get("off", {})}
        adds = own[0].get("adds")
        rows.append(
            (
                f"`{site}` {layer}",
                f"{kind} {latents}, k {k}" if learnt else "",
                group,
                _range([row["passing"] for row in own if "passing" in row], 0),
                _range([row["again"] for row in own if "again" in row], 0),
                _range([row["tune"] for row in own if "tune" in row], 2),
                _range([row["test"] for row in own if "test" in row], 2),
                _range([row["of"]["Tatoeba, nb"] for row in own if "of" in row], 2),
                _range([row["of"]["treebanks, nb"] for row in own if "of" in row], 2),
                _range(
                    [min(v for c, v in row["of"].items() if c.endswith("sv")) for row in own if "of" in row],
                    2,
                ),
                *(f"{off[c]:+.3f}" if c in off else "" for c in ("da", "nb", "sv", "en")),
                "" if adds is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*adds["target"]),
                "" if adds is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*adds["margin"]),
            )
        )
    # LAPE's neurons are of all layers, so they are not a cell of an SAE
    cells = {key[:5] for key in groups if key[5] != "LAPE"}
    done = "" if len(cells) == grid["cells"] else f" ({len(cells)} of {grid['cells']} so far)"
    return (
        f"SAEs of several sites, layers, sizes, k and kinds{done} (`results/{name}/grid.json`, made by "
        f"`results/grid.py` in {grid['seconds'] / 60:.0f} minutes with {grid['torch_threads']} threads), trained on "
        f"{grid['train_tokens']:,} tokens, {grid['epochs']} epochs, {grid['seeds']} seeds. AUROCs are of Danish "
        "against each other language within Europarl, Tatoeba and treebanks. `passing` counts the units with an AUROC "
        f"of at least {grid['minimum']:g} against all on {grid['sentences']['tune']} sentences of each language "
        f"(tune), and `again` those of them that pass on {grid['sentences']['test']} others (test). "
        "`best, tune` and `test` are the least AUROC of the best unit on tune. `off` is the change of loss on test "
        f"with the first {grid['off']} units switched off, in nats per token; `adds` is its difference between trained "
        "and untrained SAEs, for Danish, and for Danish less the nearest other language. Means over seeds, with ranges "
        "in brackets.\n\n"
    ) + _table(
        (
            *("site, layer", "autoencoder", "units", "passing", "again", "best, tune", "test"),
            *(
                "nb, Tatoeba",
                "nb, treebanks",
                "sv, least",
                "off: da",
                "nb",
                "sv",
                "en",
                "adds, da",
                "adds, margin",
            ),
        ),
        rows,
    )


def _range(values: list[float], digits: int) -> str:
    if not values:
        return "–"
    mean = sum(values) / len(values)
    text = f"{mean:.{digits}f}"
    return (
        text if min(values) == max(values) else f"{text} [{min(values):.{digits}f}, {max(values):.{digits}f}]"
    )


def _layers(nearest: NearestLanguage) -> str:
    text = "Least AUROC over the nearest language by layer (`results.json: probe.nearest`): "
    text += ", ".join(f"{row.layer} {row.score:.2f}" for row in nearest.rows)
    if nearest.trials:
        text += "; latents found by short autoencoders: "
        found: dict[int, int] = {}
        for row in nearest.trials:
            found[row.layer] = found.get(row.layer, 0) + row.found
        text += ", ".join(f"layer {layer} {count}" for layer, count in found.items())
    return text + ".\n"


def _sets(found: Baselines) -> str:
    """Each set's change of loss by language, the seeds of a group together."""
    languages = list(found.measured)
    sets: dict[tuple[Any, ...], list[dict[str, LossChange]]] = {}
    for row in found.sets:
        sets.setdefault((row.group, row.size, row.at), []).append(row.change)
    return _table(
        ("units", "size", "seeds", "at", *languages),
        [
            (
                group,
                size,
                len(own),
                "off" if at is None else f"{at:g}",
                *(f"{sum(change[code].delta for change in own) / len(own):+.3f}" for code in languages),
            )
            for (group, size, at), own in sets.items()
        ],
    )


def _n(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def main(arguments: list[str]) -> None:
    """Run the models, if any, and write the page."""
    if arguments:
        folder, *names = arguments
        for name in names or MODELS:
            run(Path(folder), name)
    PAGE.write_text(measured(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
