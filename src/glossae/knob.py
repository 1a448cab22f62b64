"""`glossae knob`: its flags, its help, and what it does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from glossae.errors import GlossaeError
from glossae.flags import Once, Parser
from glossae.recipe import nearest

KINDS: tuple[Literal["latent", "neuron", "direction"], ...] = ("latent", "neuron", "direction")
OPERATIONS: tuple[Literal["add", "set", "project_out"], ...] = ("add", "set", "project_out")
_SAVE = ("--out", "--kind", "--operation", "--dose", "--whole", "--help")
_APPLY = ("--model", "--prompt", "--dose", "--tokens", "--sample", "--device", "--any-model", "--help")

HELP = """\
usage: glossae knob save RUN --out FILE [--kind latent|neuron|direction] [--operation add|set|project_out]
                 [--dose X] [--whole]
       glossae knob apply FILE --model MODEL --prompt TEXT [--prompt TEXT ...] [--dose X] [--tokens N]
                 [--sample SEED] [--device DEVICE] [--any-model]

Write what a run has found as one small file, and turn a plain Hugging Face model with it.

  glossae knob save runs/demo --out danish.safetensors --dose 8
  glossae knob apply danish.safetensors --model toy --prompt "The dog"

In Python:  with glossae.Knob.load("danish.safetensors").on(model): model.generate(...)

  RUN               a run's folder that has come to the stage features; neurons and directions are there after the
                    stage steering (--steering.prompts 200)
  --kind KIND       latent: the selected latents; neuron: as many neurons; direction: the difference of means [latent]
  --operation OP    add: so much of each direction is added. set: each unit reads so much, which of top-k latents takes
                    the whole encoder: --whole writes it. project_out: for neurons and directions, the same as set [add]
  --dose X          how far: 1 takes the reference's mean to the target's, below 0 turns it down [by the stage
                    steering: the dose with most of the target language at a KL of at most 1 nat a token]
  --model MODEL     a folder, a name on the hub, or toy; it has to be the one that the units were found in
  --prompt TEXT     to be continued, as the model is and turned; may be given several times
  --tokens N        new ones [30]
  --sample SEED     draw every token, by this seed [the most probable one is taken]
  --device DEVICE   cpu, cuda or auto [auto]
  --any-model       turn another model all the same, such as one trained further; its site has to be as wide"""


class Save(NamedTuple):
    """What a `glossae knob save` line asks for; None where the default is meant."""

    run: Path
    out: Path
    kind: Literal["latent", "neuron", "direction"]
    operation: Literal["add", "set", "project_out"]
    dose: float | None
    whole: bool


class Apply(NamedTuple):
    """What a `glossae knob apply` line asks for; None where the default is meant."""

    file: Path
    model: str
    prompts: tuple[str, ...]
    dose: float | None
    tokens: int
    sample: int | None
    device: str
    any_model: bool


def parse(arguments: Sequence[str]) -> Save | Apply | None:
    """Read what follows `glossae knob`; None: only the help is wanted.

    Raises:
        GlossaeError: something is unknown, missing, or comes twice.
    """
    match list(arguments):
        case ["-h" | "--help"]:
            return None
        case ["save", *rest]:
            return _parse_save(rest)
        case ["apply", *rest]:
            return _parse_apply(rest)
        case []:
            raise GlossaeError("knob: save or apply? ('glossae knob --help' shows both)")
        case _:
            word = arguments[0]
            raise GlossaeError(
                f"knob: unknown '{word}'{nearest(word, ('save', 'apply'))} (there are save and apply)"
            )


def carry_out(given: Save | Apply) -> str:
    """Do it, and say what was done or written.

    Raises:
        GlossaeError: the run or the file cannot be read, or does not have what is asked; or the model is another.
    """
    return _save(given) if isinstance(given, Save) else _apply(given)


def _parse_save(arguments: list[str]) -> Save | None:
    parser = Parser("glossae knob save", "", "")
    parser.add_argument("run", nargs="?")
    for flag in ("--out", "--kind", "--operation", "--dose"):
        parser.add_argument(flag, action=Once)
    parser.add_argument("--whole", action="store_true")
    found = _read(parser, arguments, _SAVE)
    if found is None:
        return None
    if not found["run"]:
        raise GlossaeError("knob save: of which run? Give its folder")
    if not found["out"]:
        raise GlossaeError("--out: is missing; give a file")
    kind, operation = found["kind"] or "latent", found["operation"] or "add"
    if kind not in KINDS:
        raise GlossaeError(
            f"--kind: unknown kind '{kind}'{nearest(kind, KINDS)} (there are {', '.join(KINDS)})"
        )
    if operation not in OPERATIONS:
        near = nearest(operation, OPERATIONS)
        raise GlossaeError(f"--operation: unknown '{operation}'{near} (there are {', '.join(OPERATIONS)})")
    dose = None if found["dose"] is None else _number("--dose", found["dose"])
    return Save(Path(found["run"]), Path(found["out"]), kind, operation, dose, found["whole"])


def _parse_apply(arguments: list[str]) -> Apply | None:
    parser = Parser("glossae knob apply", "", "")
    parser.add_argument("file", nargs="?")
    for flag in ("--model", "--dose", "--tokens", "--sample", "--device"):
        parser.add_argument(flag, action=Once)
    parser.add_argument("--prompt", action="append", default=[])
    parser.add_argument("--any-model", action="store_true")
    found = _read(parser, arguments, _APPLY)
    if found is None:
        return None
    if not found["file"]:
        raise GlossaeError("knob apply: which knob? Give its file")
    if not found["model"]:
        raise GlossaeError("--model: is missing; give a folder, a name on the hub, or toy")
    if not any(found["prompt"]) or not all(prompt.strip() for prompt in found["prompt"]):
        raise GlossaeError("--prompt: is missing or empty; give a text to continue")
    tokens = 30 if found["tokens"] is None else _whole("--tokens", found["tokens"], least=1)
    return Apply(
        Path(found["file"]),
        found["model"],
        tuple(found["prompt"]),
        None if found["dose"] is None else _number("--dose", found["dose"]),
        tokens,
        None if found["sample"] is None else _whole("--sample", found["sample"], least=0),
        found["device"] or "auto",
        found["any_model"],
    )


def _read(parser: Parser, arguments: list[str], flags: Sequence[str]) -> dict[str, Any] | None:
    parser.add_argument("-h", "--help", action="store_true")
    joined: list[str] = []
    for argument in arguments:
        # argparse would take a number below zero for a flag
        if joined and joined[-1] == "--dose" and argument[:1] == "-" and argument[1:2].isdigit():
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    namespace, rest = parser.parse_known_intermixed_args(joined)
    for word in sorted(rest, key=lambda word: not word.startswith("-")):
        if word.startswith("-"):
            flag = word.partition("=")[0]
            raise GlossaeError(f"unknown flag '{flag}'{nearest(flag, flags)}")
        raise GlossaeError(f"knob: unexpected '{word}'")
    found = vars(namespace)
    return None if found["help"] else found


def _number(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise GlossaeError(f"{flag}: expected a number, got '{text}'")
    return value


def _whole(flag: str, text: str, *, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise GlossaeError(f"{flag}: expected a whole number from {least}, got '{text}'")
    return int(text)


def _save(given: Save) -> str:
    from glossae.run.knobs import knob_of_run

    knob = knob_of_run(given.run, given.kind, given.operation, dose=given.dose, whole=given.whole)
    knob.save(given.out)
    size = given.out.stat().st_size
    amount = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
    return (
        f"{given.out}: {amount}, {knob.family.operation} {', '.join(knob.names)} at {knob.site} of {knob.model}, "
        f"dose {knob.dose:.4g}, hash {knob.hash[:12]}"
    )


def _apply(given: Apply) -> str:
    from glossae.effects import Knob
    from glossae.run.knobs import continued_by

    knob = Knob.load(given.file)
    if given.dose is not None:
        knob = knob.turned(given.dose)
    lines = []
    for prompt, raw, turned in continued_by(
        knob,
        given.model,
        given.prompts,
        new_tokens=given.tokens,
        sample=given.sample,
        device=given.device,
        any_model=given.any_model,
    ):
        lines += [f"prompt   {_shown(prompt)}", f"raw      {_shown(raw)}", f"turned   {_shown(turned)}"]
    return "\n".join(lines)


def _shown(text: str) -> str:
    """A text on one line, without what a terminal would obey."""
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
