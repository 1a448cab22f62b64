"""The flags of `glossae run`: every setting of a recipe by its dotted key, and the help that teaches them."""

import argparse
import ast
import inspect
import itertools
import re
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from glossae.errors import GlossaeError
from glossae.recipe import (
    PRECISIONS,
    QUICK,
    QUICK_PRECISION,
    SHORT,
    Recipe,
    Settings,
    all_settings,
    nearest,
    unknown_flag,
)
from glossae.stages import STAGES

_ABOUT = """\
Run a recipe from text to report. What is already done in the folder is not done again: the same
command carries on after a crash, and a changed setting re-runs what depends on it.

  glossae run find --model M --target sv --text "sv=A.txt en=B.txt da=C.txt" --out runs/sv
                                                     Swedish units of your model, on your text
  glossae run demo                                     the toy, offline
  glossae run demo --sae.k 16 --until sae              another k, and no further than the autoencoder
  glossae run pythia-14m --model FOLDER --layer 4 --corpora.train A.tsv --corpora.test B.tmx --out runs/mine
  glossae run mine.yaml                                a recipe of your own; 'base: demo' in it inherits
  glossae run paper --dry-run                          what would be fetched, memory, time; no network

Every key below is also a key of the YAML file: --sae.k 16 is 'sae:', and under it '  k: 16'. Lists are
separated by commas, and none takes a value away. 'glossae run RECIPE --help' shows that recipe's values."""


_TEXT_HELP = """\
Short for languages.target, languages.reference and corpora.text. They name your text, a source for each language
or sources with several, and everything that a run reads is cut out of it."""

_SHORT_HELP = {
    "target": ("CODE", "the language whose units are looked for, such as sv"),
    "reference": ("CODE", "the language that they must leave alone [en]"),
    "text": (
        "TEXT",
        'sources separated by blanks: "sv=A.txt en=B.txt da=C.txt", an aligned file, opus:NAME, ...; languages besides '
        "the two are measured too",
    ),
}


class Parser(argparse.ArgumentParser):
    """A parser that knows no abbreviations and leaves by an exception."""

    def __init__(self, prog: str, usage: str = "", description: str = "") -> None:
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
        raise GlossaeError(
            message.removeprefix("argument ").replace("expected one argument", "needs a value")
        )

    def read(
        self, arguments: Sequence[str], signed: Collection[str] = ()
    ) -> tuple[dict[str, Any], str | None]:
        """The values by name, and the first word that is not understood, a flag before others.

        Args:
            arguments: flags and other words in any order.
            signed: flags whose value may begin with a dash. `--key -8,0` is `--key=-8,0`: argparse would take the
                value for a flag.
        """
        joined: list[str] = []
        for argument in arguments:
            if joined and joined[-1] in signed and re.match(r"-(?!-|h$)", argument):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        namespace, rest = self.parse_known_intermixed_args(joined)
        words = sorted(rest, key=lambda word: not word.startswith("-"))
        return vars(namespace), words[0] if words else None


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
            GlossaeError: there is one already.
        """
        if getattr(namespace, self.dest) is not None:
            raise GlossaeError(f"{option_string}: is given twice")
        setattr(namespace, self.dest, values)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read what follows `glossae run`.

    Returns:
        `recipe`, `out`, `until` as given or None; `quiet`, `dry_run`, `quick` and `help` as booleans; and `overrides`:
        text by dotted key, short names and `--precision` written out.

    Raises:
        GlossaeError: a flag is unknown, has no value or comes twice, there are two recipes, or no such stage.
    """
    keys = [setting.key for setting in all_settings(Recipe)]
    signed = {f"--{key}" for key in (*keys, "precision", *SHORT)}
    values, word = _parser(None).read(_with_chat(arguments), signed)
    if word is not None and word.startswith("-"):
        own = ("out", "until", "quiet", "quick", "dry-run", "help", "precision", *SHORT)
        raise unknown_flag(word.partition("=")[0], others=own)
    if word is not None:
        raise GlossaeError(f"unexpected '{word}' after the recipe '{values['recipe']}'")
    if values["until"] not in (None, *STAGES):
        near = nearest(values["until"], STAGES)
        raise GlossaeError(
            f"--until: unknown stage '{values['until']}'{near} (there are {', '.join(STAGES)})"
        )
    if values["out"] == "":
        raise GlossaeError("--out: expected a folder, got ''")
    given = {name: values[name] for name in ("recipe", "until", "quiet", "dry_run", "help", "quick")}
    out = None if values["out"] is None else Path(values["out"])
    return argparse.Namespace(out=out, overrides=_overrides(values, keys), **given)


def _overrides(values: dict[str, Any], keys: Sequence[str]) -> dict[str, str]:
    """The settings that flags name, by dotted key.

    Raises:
        GlossaeError: one is named by its short and by its dotted key, or a role has text of its own.
    """
    found: dict[str, str] = {}
    if values["precision"] is not None:
        found |= dict.fromkeys(PRECISIONS, values["precision"])
    found |= {key: values[key] for key in keys if values[key] is not None}
    for short, key in SHORT.items():
        if values[short] is not None and values[key] is not None:
            raise GlossaeError(f"--{short}: is short for --{key}, which is given too: give one of the two")
        if values[short] is not None:
            found[key] = values[short]
    for role in ("train", "select", "tune", "test", "panel"):
        if {"corpora.text", f"corpora.{role}"} <= found.keys():
            text = "text" if values["text"] is not None else "corpora.text"
            raise GlossaeError(
                f"--{text} and --corpora.{role}: every role but replicate is cut out of the text: give one of the two"
            )
    return found


def help_text(values: Mapping[str, Any] | None) -> str:
    """The help of `glossae run`, with a recipe's values by dotted key, or else the settings' defaults."""
    return _parser(values).format_help()


def _with_chat(arguments: Sequence[str]) -> list[str]:
    """`--chat` by itself is `--chat=true`."""
    return [
        "--chat=true"
        if argument == "--chat" and (following or "").lower() not in ("true", "false")
        else argument
        for argument, following in itertools.zip_longest(arguments, arguments[1:])
    ]


def _parser(recipe: Mapping[str, Any] | None) -> Parser:
    parser = Parser(
        "glossae run",
        "glossae run RECIPE [--out DIR] [--until STAGE] [--quick] [--quiet] [--dry-run] [--KEY VALUE ...]",
        _ABOUT,
    )
    short = parser.add_argument_group("languages and text", _TEXT_HELP)
    for name, (metavar, text) in _SHORT_HELP.items():
        short.add_argument(f"--{name}", action=Once, metavar=metavar, help=text)
    command = parser.add_argument_group("the command")
    command.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="a name ('glossae recipes' lists them) or a YAML file"
    )
    command.add_argument("--out", action=Once, metavar="DIR", help="the run's folder [runs/NAME]")
    command.add_argument("--until", action=Once, metavar="STAGE", help=f"the last stage: {', '.join(STAGES)}")
    command.add_argument("--quick", action="store_true", help=_quick_help())
    precise = f"how precisely every stage measures: {', '.join(PRECISIONS)} at once"
    command.add_argument("--precision", action=Once, metavar="X", help=precise)
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="fetch, run and write nothing; say what a run would fetch, hold and take",
    )
    command.add_argument("-h", "--help", action="store_true", help="show this")
    values = recipe or {}
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


def _quick_help() -> str:
    small = ", ".join(f"{key} {_as_text(value)}" for key, value in QUICK.items())
    precise = f", {' and '.join(PRECISIONS)} {QUICK_PRECISION}"
    return (
        "a first page in about two minutes, of less text and fewer measurements. It sets what the recipe has larger "
        f"to: {small}{precise}. A flag for one of them wins"
    )


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
        return "needed"
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
