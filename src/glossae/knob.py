"""`glossae knob`: save a run's units as one small file, turn a model with it, and export it to other libraries."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError, one_line
from glossae.flags import typed
from glossae.recipe import Count, Seed, Text

_USAGE = """\
glossae knob save RUN --out FILE [--kind latent|neuron|direction] [--operation add|set|project_out]
                 [--dose X] [--whole]
       glossae knob apply FILE --model MODEL --prompt TEXT [--prompt TEXT ...] [--dose X] [--tokens N]
                 [--sample SEED] [--device DEVICE] [--any-model]
       glossae knob export FILE --to gguf|vllm --out PLACE [--dose X] [--model MODEL] [--everywhere]"""
_ABOUT = """\
Write what a run has found as one small file, and turn a plain Hugging Face model with it, or one in llama.cpp or vLLM.

  glossae knob save runs/demo --out danish.safetensors --dose 8
  glossae knob apply danish.safetensors --model toy --prompt "The dog"
  glossae knob export danish.safetensors --to gguf --model toy --out danish.gguf

In Python:  with glossae.Knob.load("danish.safetensors").on(model): model.generate(...)"""


def add_knob(commands: Any) -> None:
    """Add `glossae knob` to the commands."""
    short = "write what a run has found as one small file, turn a model with it, and export it"
    parser = commands.add_parser("knob", help=short, usage=_USAGE, description=_ABOUT)
    both = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", help="save, apply or export", prog="glossae knob"
    )
    parser.needed.append(both)
    dose = (
        "1 moves the reference's mean to the target's, below 0 turns the language down [by the stage steering: the "
        "dose with most of the target language at a KL of at most 1 nat a token]"
    )

    save = both.add_parser("save", help="write a knob", usage=_USAGE, description=_ABOUT)
    save.set_defaults(do=_save)
    run = (
        "the folder of a run that has finished the stage features. The stage steering (--steering.prompts 200) adds "
        "neurons and directions"
    )
    save.need("run", nargs="?", metavar="RUN", help=run)
    save.need("--out", metavar="FILE", help="the file to write")
    kind = (
        "latent: the selected latents; neuron: as many neurons; direction: the difference of means [latent]"
    )
    kinds = ("latent", "neuron", "direction")
    save.add_argument("--kind", choices=kinds, metavar="KIND", help=kind)
    operation = (
        "add: a multiple of each direction is added; set: each unit has a fixed value, which for top-k latents takes "
        "the whole encoder (--whole); project_out: for neurons and directions, the same as set [add]"
    )
    operations = ("add", "set", "project_out")
    save.add_argument("--operation", choices=operations, metavar="OPERATION", help=operation)
    save.add_argument("--dose", type=typed(float), metavar="X", help=dose)
    save.add_argument("--whole", action="store_true", help="write the whole encoder")

    apply = both.add_parser("apply", help="turn a model with a knob", usage=_USAGE, description=_ABOUT)
    apply.set_defaults(do=_apply)
    apply.need("file", nargs="?", metavar="FILE", help="the file of a knob")
    model = "a folder, a name on the hub, or toy; it has to be the model that the units were found in"
    apply.need("--model", metavar="MODEL", help=model)
    prompt = "a text to continue, with the model as it is and turned; may be given several times"
    apply.need("--prompt", action="append", type=typed(Text), metavar="TEXT", help=prompt)
    apply.add_argument("--dose", type=typed(float), metavar="X", help="another dose than the file's")
    apply.add_argument("--tokens", type=typed(Count), metavar="N", help="number of new tokens [30]")
    sample = "draw every token, by this seed [take the most probable one]"
    apply.add_argument("--sample", type=typed(Seed), metavar="SEED", help=sample)
    apply.add_argument("--device", metavar="DEVICE", help="cpu, cuda or auto [auto]")
    another = "allow another model, such as one trained further; its site must have the same width"
    apply.add_argument("--any-model", action="store_true", help=another)

    export = both.add_parser(
        "export", help="write a knob for llama.cpp or vLLM", usage=_USAGE, description=_ABOUT
    )
    export.set_defaults(do=_export)
    export.need("file", nargs="?", metavar="FILE", help="the file of a knob whose operation is add")
    to = "gguf: a control vector of llama.cpp (extra gguf); vllm: a steering vector of vllm-lens, as JSON"
    export.need("--to", dest="format", choices=("gguf", "vllm"), metavar="FORMAT", help=to)
    export.need("--out", metavar="PLACE", help="the file to write")
    export.add_argument("--dose", type=typed(float), metavar="X", help="another dose than the file's")
    own = "the knob's model: a folder, a name on the hub, or toy; at the site resid, not needed"
    export.add_argument("--model", metavar="MODEL", help=own)
    everywhere = (
        "export a knob that leaves a BOS, a prompt or attention sinks alone: exported, it leaves none alone"
    )
    export.add_argument("--everywhere", action="store_true", help=everywhere)


def _save(given: argparse.Namespace) -> dict[str, Any]:
    from glossae.effects.knob import is_knob
    from glossae.run.knobs import knob_of_run

    out = Path(given.out)
    _check_out(out, "knob", is_knob, (Path(given.run) / "steering").rglob("*"))
    kind: Any = given.kind or "latent"
    operation: Any = given.operation or "add"
    found = knob_of_run(Path(given.run), kind, operation, dose=given.dose, whole=given.whole)
    found.save(out)
    size = out.stat().st_size
    amount = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
    print(
        f"{out}: {amount}, {found.family.operation} {', '.join(found.names)} at {found.site} of {found.model}, "
        f"dose {found.dose:.4g}, hash {found.hash[:12]}"
    )
    own = {"operation": found.family.operation, "units": list(found.names), "site": str(found.site)}
    return {
        "out": str(out),
        "bytes": size,
        "model": found.model,
        **own,
        "dose": found.dose,
        "hash": found.hash,
    }


def _apply(given: argparse.Namespace) -> dict[str, Any]:
    from glossae.effects import Knob
    from glossae.run.knobs import continued_by

    knob = Knob.load(Path(given.file))
    continued = continued_by(
        knob if given.dose is None else knob.turned(given.dose),
        given.model,
        tuple(given.prompt),
        new_tokens=given.tokens or 30,
        sample=given.sample,
        device=given.device or "auto",
        any_model=given.any_model,
    )
    rows = [dict(zip(("prompt", "raw", "turned"), texts, strict=True)) for texts in continued]
    for row in rows:
        for name, text in row.items():
            print(f"{name:<8} {one_line(text)}")
    return {"model": given.model, "continuations": rows}


def _export(given: argparse.Namespace) -> None:
    from glossae.api import load
    from glossae.effects import Knob, export_knob
    from glossae.effects.elsewhere import EXPORTED, is_export

    kind = EXPORTED[given.format]
    _check_out(Path(given.out), kind, lambda place: is_export(place, given.format), [Path(given.file)])
    knob = Knob.load(Path(given.file))
    knob = knob if given.dose is None else knob.turned(given.dose)
    lm = None if given.model is None else load(given.model, device="cpu", dtype="float32")
    out = export_knob(knob, Path(given.out), given.format, lm=lm, everywhere=given.everywhere)
    print(
        f"{out}: after layer {knob.site.layer} of {knob.model}, dose {knob.dose:.4g}, hash {knob.hash[:12]}"
    )


def _check_out(out: Path, kind: str, is_own: Callable[[Path], bool], inputs: Iterable[Path]) -> None:
    """Refuse to replace a file of another kind, or what is read."""
    if not out.exists():
        return
    if any(path.exists() and path.samefile(out) for path in inputs):
        raise GlossaeError(f"--out: {out} is what is read: give another name")
    if not (out.is_file() and is_own(out)):
        raise GlossaeError(f"--out: {out} exists and is no {kind}: give another name")
