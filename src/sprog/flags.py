"""The flags of `sprog run`: every setting of a recipe by its dotted key, and the help that teaches them."""

import argparse
import ast
import inspect
import itertools
import re
import types
from collections.abc import Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin

from sprog.errors import SprogError
from sprog.recipe import STAGES, Recipe, nearest
from sprog.recipe.group import Settings, all_settings
from sprog.recipe.reading import unknown_flag

_ABOUT = """\
Run a recipe from text to report. What is already done in the folder is not done again: the same
command carries on after a crash, and a changed setting re-runs what depends on it.

  sprog run demo                                     the toy, offline
  sprog run demo --sae.k 16 --until sae              another k, and no further than the autoencoder
  sprog run pythia-14m --model FOLDER --layer 4 --corpora.train A.tsv --corpora.test B.tmx --out runs/mine
  sprog run mine.yaml                                a recipe of your own; 'base: demo' in it inherits
  sprog run paper --dry-run                          what would be fetched, memory, time; no network

Every key below is also a key of the YAML file: --sae.k 16 is 'sae:', and under it '  k: 16'. Lists are
separated by commas, and none takes a value away. 'sprog run RECIPE --help' shows that recipe's values."""


class Given(NamedTuple):
    """What a `sprog run` line asks for.

    Attributes:
        recipe: the name or path, if one was given.
        out: the run's folder, if one was named.
        until: the last stage, if one was named.
        quiet: no progress.
        dry_run: only say what would be fetched, held and spent.
        help: only the help.
        overrides: text by dotted key.
    """

    recipe: str | None
    out: Path | None
    until: str | None
    quiet: bool
    dry_run: bool
    help: bool
    overrides: dict[str, str]


class Parser(argparse.ArgumentParser):
    """A parser that knows no abbreviations and leaves by an exception."""

    def __init__(self, prog: str, usage: str, description: str) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            add_help=False,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=36),
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print together with the usage."""
        raise SprogError(message.removeprefix("argument ").replace("expected one argument", "needs a value"))


class Once(argparse.Action):
    """A flag that may be given once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep the value.

        Raises:
            SprogError: there is one already.
        """
        if getattr(namespace, self.dest) is not None:
            raise SprogError(f"{option_string}: is given twice")
        setattr(namespace, self.dest, values)


def parse(arguments: Sequence[str]) -> Given:
    """Read what follows `sprog run`.

    Raises:
        SprogError: a flag is unknown, has no value or comes twice, there are two recipes, or no such stage.
    """
    keys = [setting.key for setting in all_settings(Recipe)]
    namespace, rest = _parser(None).parse_known_intermixed_args(_joined(arguments, keys))
    for word in sorted(rest, key=lambda word: not word.startswith("-")):
        if word.startswith("-"):
            raise unknown_flag(word.partition("=")[0], others=("out", "until", "quiet", "dry-run", "help"))
        raise SprogError(f"unexpected '{word}' after the recipe '{namespace.recipe}'")
    values = vars(namespace)
    if values["until"] not in (None, *STAGES):
        near = nearest(values["until"], STAGES)
        raise SprogError(f"--until: unknown stage '{values['until']}'{near} (there are {', '.join(STAGES)})")
    if values["out"] == "":
        raise SprogError("--out: expected a folder, got ''")
    return Given(
        recipe=values["recipe"],
        out=None if values["out"] is None else Path(values["out"]),
        until=values["until"],
        quiet=values["quiet"],
        dry_run=values["dry_run"],
        help=values["help"],
        overrides={key: values[key] for key in keys if values[key] is not None},
    )


def help_text(recipe: Recipe | None) -> str:
    """The help of `sprog run`, with `recipe`'s values, or else the settings' defaults."""
    return _parser(recipe).format_help()


def _joined(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """`--key -8,0` as `--key=-8,0`, since argparse would take what begins with a dash for a flag."""
    flags = {f"--{key}" for key in keys}
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in flags and re.match(r"-(?!-|h$)", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _parser(recipe: Recipe | None) -> Parser:
    parser = Parser(
        "sprog run",
        "sprog run RECIPE [--out DIR] [--until STAGE] [--quiet] [--dry-run] [--KEY VALUE ...]",
        _ABOUT,
    )
    command = parser.add_argument_group("the command")
    command.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="a name ('sprog recipes' lists them) or a YAML file"
    )
    command.add_argument("--out", action=Once, metavar="DIR", help="the run's folder [runs/NAME]")
    command.add_argument("--until", action=Once, metavar="STAGE", help=f"the last stage: {', '.join(STAGES)}")
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="fetch, run and write nothing; say what a run would fetch, hold and take",
    )
    command.add_argument("-h", "--help", action="store_true", help="show this")
    values = {} if recipe is None else _flat(recipe)
    docs = _docs()
    sections: dict[type[Settings], argparse._ArgumentGroup] = {}
    for setting in all_settings(Recipe):
        if setting.group not in sections:
            about = (inspect.getdoc(setting.group) or "").partition("\n")[0]
            sections[setting.group] = parser.add_argument_group(setting.group.group or "the recipe", about)
        value = values.get(setting.key, setting.default)
        text = f"{docs[setting.group.__name__, setting.name]} [{_as_text(value)}]"
        sections[setting.group].add_argument(
            f"--{setting.key}", action=Once, metavar=_metavar(setting.hint), help=text.replace("%", "%%")
        )
    return parser


def _flat(recipe: Recipe) -> dict[str, Any]:
    flat = {}
    for setting in all_settings(Recipe):
        owner = getattr(recipe, setting.group.group) if setting.group.group else recipe
        flat[setting.key] = getattr(owner, setting.name)
    return flat


def _docs() -> dict[tuple[str, str], str]:
    """The text under each setting in the source, by its class and name."""
    docs = {}
    # settings of one kind stand in a module together
    modules = dict.fromkeys(inspect.getmodule(setting.group) for setting in all_settings(Recipe))
    groups = [group for module in modules if module for group in ast.parse(inspect.getsource(module)).body]
    for group in groups:
        if not isinstance(group, ast.ClassDef):
            continue
        for setting, text in itertools.pairwise(group.body):
            if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Expr):
                words = ast.literal_eval(text.value).split()
                docs[group.name, ast.unparse(setting.target)] = " ".join(words)
    return docs


def _as_text(value: Any) -> str:
    """A value as one would write it on the command line, its numbers shortened."""
    if value is MISSING:
        return "each recipe's own"
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ",".join(_as_text(element) for element in value)
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
        return "|".join(_metavar(arm) for arm in args)
    if origin is tuple:
        element = _metavar(args[0])
        return f"{element},{element},..."
    words = {str: "TEXT", bool: "true|false", int: "N", float: "X", types.NoneType: "none"}
    return words[hint]
