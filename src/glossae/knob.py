"""`glossae knob`: save a run's units as one small file, and turn a model with it."""

from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError
from glossae.flags import Once, Parser
from glossae.recipe import nearest

HELP = """\
usage: glossae knob save RUN --out FILE [--kind latent|neuron|direction] [--operation add|set|project_out]
                 [--dose X] [--whole]
       glossae knob apply FILE --model MODEL --prompt TEXT [--prompt TEXT ...] [--dose X] [--tokens N]
                 [--sample SEED] [--device DEVICE] [--any-model]

Save the units of a run as one small file, and turn a plain Hugging Face model with it.

  glossae knob save runs/demo --out danish.safetensors --dose 8
  glossae knob apply danish.safetensors --model toy --prompt "The dog"

In Python:  with glossae.Knob.load("danish.safetensors").on(model): model.generate(...)

  RUN               the folder of a run with a finished stage features; neurons and directions also need the stage
                    steering (--steering.prompts 200)
  --kind KIND       latent: the selected latents; neuron: as many neurons; direction: the difference of means [latent]
  --operation OP    add: add the dose of each direction. set: set each unit's value, which for top-k latents needs the
                    whole encoder (--whole saves it). project_out: for neurons and directions, the same as set [add]
  --dose X          1 takes the reference's mean to the target's, below 0 turns the units down [from the stage
                    steering: the dose with most of the target language at a KL of at most 1 nat per token]
  --model MODEL     a folder, a name on the hub, or toy: the model that the units were found in
  --prompt TEXT     a text to continue, unedited and turned; may be given several times
  --tokens N        new tokens [30]
  --sample SEED     sample every token, with this seed [take the most probable token]
  --device DEVICE   cpu, cuda or auto [auto]
  --any-model       accept another model, such as a fine-tuned one, whose site has the same width"""


KINDS = ("latent", "neuron", "direction")
OPERATIONS = ("add", "set", "project_out")
# the flags of each command: with a value, and without
_FLAGS = {
    "save": (("out", "kind", "operation", "dose"), ("whole", "help")),
    "apply": (("model", "dose", "tokens", "sample", "device"), ("any-model", "help")),
}


def knob(arguments: list[str]) -> str:
    """Carry out a `glossae knob` command, and return its report.

    Raises:
        GlossaeError: an argument is unknown, missing, or given twice; the run or the file cannot be read, or
            lacks the units; or the model is another one.
    """
    if arguments in (["-h"], ["--help"]):
        return HELP
    if not arguments:
        raise GlossaeError("knob: save or apply? ('glossae knob --help' shows both)")
    command, *rest = arguments
    if command not in _FLAGS:
        near = nearest(command, _FLAGS)
        raise GlossaeError(f"knob: unknown '{command}'{near} (there are save and apply)")
    parser = Parser(f"glossae knob {command}")
    parser.add_argument("place", nargs="?")
    parser.add_argument("-h", action="store_true", dest="help")
    valued, plain = _FLAGS[command]
    for flag in valued:
        parser.add_argument(f"--{flag}", action=Once)
    for flag in plain:
        parser.add_argument(f"--{flag}", action="store_true")
    if command == "apply":
        parser.add_argument("--prompt", action="append", default=[])
    given, word = parser.read(rest, ["--dose"])
    if word is not None and word.startswith("-"):
        flag = word.partition("=")[0]
        known = [f"--{name}" for name in (*valued, *plain, *(["prompt"] if command == "apply" else []))]
        raise GlossaeError(f"unknown flag '{flag}'{nearest(flag, known)}")
    if word is not None:
        raise GlossaeError(f"knob: unexpected '{word}'")
    if given["help"]:
        return HELP
    return _save(given) if command == "save" else _apply(given)


def _save(given: dict[str, Any]) -> str:
    if not given["place"]:
        raise GlossaeError("knob save: of which run? Give its folder")
    if not given["out"]:
        raise GlossaeError("--out: is missing; give a file")
    kind: Any = given["kind"] or "latent"
    operation: Any = given["operation"] or "add"
    if kind not in KINDS:
        raise GlossaeError(
            f"--kind: unknown kind '{kind}'{nearest(kind, KINDS)} (there are {', '.join(KINDS)})"
        )
    if operation not in OPERATIONS:
        near = nearest(operation, OPERATIONS)
        raise GlossaeError(f"--operation: unknown '{operation}'{near} (there are {', '.join(OPERATIONS)})")
    out, dose = Path(given["out"]), _dose(given["dose"])
    from glossae.run.knobs import knob_of_run

    found = knob_of_run(Path(given["place"]), kind, operation, dose=dose, whole=given["whole"])
    found.save(out)
    size = out.stat().st_size
    amount = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
    return (
        f"{out}: {amount}, {found.family.operation} {', '.join(found.names)} at {found.site} of {found.model}, "
        f"dose {found.dose:.4g}, hash {found.hash[:12]}"
    )


def _apply(given: dict[str, Any]) -> str:
    if not given["place"]:
        raise GlossaeError("knob apply: which knob? Give its file")
    if not given["model"]:
        raise GlossaeError("--model: is missing; give a folder, a name on the hub, or toy")
    if not given["prompt"] or not all(prompt.strip() for prompt in given["prompt"]):
        raise GlossaeError("--prompt: is missing or empty; give a text to continue")
    tokens = 30 if given["tokens"] is None else _whole("--tokens", given["tokens"], least=1)
    dose = _dose(given["dose"])
    sample = None if given["sample"] is None else _whole("--sample", given["sample"], least=0)
    from glossae.effects import Knob
    from glossae.run.knobs import continued_by

    knob = Knob.load(Path(given["place"]))
    continued = continued_by(
        knob if dose is None else knob.turned(dose),
        given["model"],
        tuple(given["prompt"]),
        new_tokens=tokens,
        sample=sample,
        device=given["device"] or "auto",
        any_model=given["any_model"],
    )
    return "\n".join(
        f"{name:<8} {_shown(text)}"
        for texts in continued
        for name, text in zip(("prompt", "raw", "turned"), texts, strict=True)
    )


def _dose(text: str | None) -> float | None:
    try:
        value = None if text is None else float(text)
    except ValueError:
        value = float("nan")
    if value is not None and not abs(value) < float("inf"):
        raise GlossaeError(f"--dose: expected a number, got '{text}'")
    return value


def _whole(flag: str, text: str, *, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise GlossaeError(f"{flag}: expected a whole number from {least}, got '{text}'")
    return int(text)


def _shown(text: str) -> str:
    """A text on one line, without control characters."""
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
