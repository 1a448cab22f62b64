"""The parser of the command line, and the flags of `glossae run`: every setting of a recipe by its dotted key."""

import argparse
import re
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from glossae.errors import GlossaeError
from glossae.recipe import (
    PRECISIONS,
    Recipe,
    Text,
    all_settings,
    fit,
    nearest,
    quick_settings,
    recipe_values,
    unknown_flag,
)
from glossae.stages import STAGES

_ABOUT = """\
Run a recipe from text to report. Work that is done in the folder is not done again: the same command
carries on after a crash, and a changed setting re-runs what depends on it.

  glossae run find --model M --target sv --text "sv=A.txt en=B.txt da=C.txt" --out runs/sv
                                                     Swedish units of your model, on your text
  glossae run demo                                   the toy, offline
  glossae run demo --sae.k 16 --until sae            another k, no further than the autoencoder
  glossae run pythia-14m --model FOLDER --layer 4 --corpora.train A.tsv --corpora.test B.tmx --out runs/mine
  glossae run mine.yaml                              a recipe of your own; 'base: demo' in it inherits
  glossae run paper --dry-run                        downloads, memory and time; no network

Every key below is also a key of the YAML file: --sae.k 16 is 'sae:', and under it '  k: 16'. Commas separate
the elements of a list, and none removes a value. 'glossae run RECIPE --help' shows that recipe's values."""

_SHORT = {"languages.target": "target", "languages.reference": "reference", "corpora.text": "text"}
_TEXT_HELP = """\
The languages, and your text in them: one source for each language, or sources with several. All text of a
run is cut out of it."""


def _layout(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=36)


class _Once(argparse.Action):
    """Store the value of a flag that may be given once."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:  # noqa: ARG002
        if getattr(namespace, self.dest) is not None:
            raise GlossaeError(f"{option_string}: is given twice")
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations. Its errors are `GlossaeError`s of one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, add_help=False, formatter_class=_layout, **options)
        self.register("action", None, _Once)
        self.set_defaults(parser=self)
        self.needed: list[argparse.Action] = []
        self.add_argument("-h", "--help", action="store_true", default=argparse.SUPPRESS, help="show this")

    def need(self, *names: str, **options: Any) -> None:
        """Add an argument that `read` refuses to miss."""
        self.needed.append(self.add_argument(*names, **options))

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print together with the usage."""
        raise GlossaeError(
            message.removeprefix("argument ").replace("expected one argument", "needs a value")
        )

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = [*(action.choices or ())]
        if choices and value not in choices:
            flag = f"{action.option_strings[0]}: " if action.option_strings else ""
            there_are = f"there are {', '.join(choices[:-1])} and {choices[-1]}"
            raise GlossaeError(
                f"{flag}unknown {action.dest} '{value}'{nearest(value, choices)} ({there_are})"
            )

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The values of a command line; `parser` is the parser of its command.

        Raises:
            GlossaeError: a flag is unknown, has no value or comes twice, or a word is missing or one too many.
        """
        joined: list[str] = []
        for word in words:
            # `--chat` by itself is `--chat true`
            if joined[-1:] == ["--chat"] and word.lower() not in ("true", "false"):
                joined[-1] = "--chat=true"
            # argparse would take `-8,0` for a flag
            if re.match(r"-(\.?\d|inf|nan)", word) and joined and re.fullmatch("--[^=]+", joined[-1]):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        given, rest = self.parse_known_args(joined)
        # without a default, so that the command's own parser does not take back a `--help` before the command
        given.help = "help" in given
        parser = given.parser
        for word in sorted(rest, key=lambda word: not word.startswith("-")):
            if not word.startswith("-"):
                raise GlossaeError(f"{parser.prog.removeprefix('glossae ')}: unexpected '{word}'")
            known = [flag.lstrip("-") for flag in parser._option_string_actions]
            raise unknown_flag(word.partition("=")[0], known)
        for action in parser.needed:
            if not (given.help or getattr(given, action.dest)):
                name = action.option_strings[0] if action.option_strings else action.metavar
                raise GlossaeError(
                    f"{parser.prog.removeprefix('glossae ')}: {name} is missing: {action.help}"
                )
        return given


def typed(hint: Any) -> Callable[[str], Any]:
    """The `type` of an argument whose value is read as a setting of type `hint` is."""

    def read(text: str) -> Any:
        try:
            return fit(text, hint)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def add_run(commands: Any) -> Parser:
    """Add `glossae run` to the commands."""
    usage = "glossae run RECIPE [--out DIR] [--until STAGE] [--quick] [--quiet] [--dry-run] [--KEY VALUE ...]"
    parser: Parser = commands.add_parser(
        "run", help="run a recipe, from text to report", usage=usage, description=_ABOUT
    )
    text = parser.add_argument_group("languages and text", _TEXT_HELP)
    command = parser.add_argument_group("the command")
    recipe = "a name ('glossae recipes' lists them) or a YAML file"
    command.add_argument("recipe", nargs="?", metavar="RECIPE", help=recipe)
    command.add_argument("--out", type=typed(Text), metavar="DIR", help="the run's folder [runs/NAME]")
    until = f"the last stage: {', '.join(STAGES)}"
    command.add_argument("--until", dest="stage", choices=STAGES, metavar="STAGE", help=until)
    small = ", ".join(f"{key} {_as_text(value)}" for key, value in quick_settings().items())
    quick = (
        "a first page in about two minutes, from less text and fewer measurements. It reduces what is larger in the "
        f"recipe to {small}. Flags override it"
    )
    command.add_argument("--quick", action="store_true", help=quick)
    precision = f"the precision of every stage: {', '.join(PRECISIONS)} at once"
    command.add_argument("--precision", metavar="X", help=precision)
    command.add_argument("--quiet", action="store_true", help="show no progress")
    track = "send numbers to a tracker while it runs: trackio (local; extra track), wandb or none [none]"
    command.add_argument("--track", choices=("trackio", "wandb", "none"), metavar="TRACKER", help=track)
    dry_run = "fetch, run and write nothing; show downloads, memory and time"
    command.add_argument("--dry-run", action="store_true", help=dry_run)
    sections: dict[str, Any] = {}
    for key, field in all_settings(Recipe).items():
        group = key.rpartition(".")[0]
        if group not in sections:
            about = Recipe.model_fields[group].annotation.__doc__ if group else Recipe.__doc__
            sections[group] = parser.add_argument_group(group or "the recipe", about)
        flags = [f"--{name}" for name in (_SHORT.get(key), key) if name]
        words = " ".join((field.description or "").split()).replace("%", "%%")
        alone: dict[str, Any] = {"nargs": "?", "const": "true"} if key == "chat" else {}
        (text if key in _SHORT else sections[group]).add_argument(
            *flags, dest=key, metavar=_metavar(field.annotation), help=f"{words} [%(default)s]", **alone
        )
    return parser


def overrides(given: argparse.Namespace) -> dict[str, str]:
    """The settings that flags of `glossae run` name, as text by dotted key."""
    values = vars(given)
    found = {} if given.precision is None else dict.fromkeys(PRECISIONS, given.precision)
    return found | {key: values[key] for key in all_settings(Recipe) if values[key] is not None}


def show_values(given: argparse.Namespace) -> None:
    """Set the values that the help of `glossae run` shows: the given recipe's, or else the defaults."""
    values = recipe_values(given.recipe, overrides(given), given.quick)
    texts = {key: _as_text(values[key]) if key in values else "needed" for key in all_settings(Recipe)}
    given.parser.set_defaults(**texts)


def _as_text(value: Any) -> str:
    """A value as one would write it on the command line, its numbers shortened."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple | list):
        return ",".join(map(_as_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metavar(hint: Any) -> str:
    """The form of a value, in a word: `N|none`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _metavar(args[0])
    if origin is Literal:
        return "|".join(args)
    if origin in (Union, types.UnionType):
        return "|".join(map(_metavar, args))
    if origin is tuple:
        return f"{_metavar(args[0])},{_metavar(args[0])},..."
    return {str: "TEXT", bool: "true|false", int: "N", float: "X", types.NoneType: "none"}[hint]
