"""The door: `glossae run` and its sisters, and one line on standard error when something is wrong."""

import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from glossae import flags
from glossae._version import __version__
from glossae.environment import offline
from glossae.errors import GlossaeError
from glossae.recipe import load_recipe, nearest, recipe_values, shipped_recipes

_HELP = """\
glossae finds the units inside a language model that stand for a language, tests that they do, and turns
them up or down.

  glossae run demo            the whole way, from text to report, on a toy: offline, minutes on two cores
  glossae run find            the same on your model, language and text: --model, --target, --text
  glossae run RECIPE          the same as another recipe says, with your model and text if you like
  glossae run ... --quick     a first page in two minutes
  glossae run ... --dry-run   what that would fetch, hold and take; nothing is run, no network
  glossae run --help          all that can be set, and how
  glossae recipes             the recipes that come with glossae
  glossae export              an autoencoder in another library's format
  glossae knob                what a run has found as one small file, and a model turned by it
  glossae doctor              what this machine has, and what is missing for which feature
  glossae --version           the version
  glossae --help              this

A run is a folder: its report.html is the page to read, results.json has every number."""

_RECIPES_HELP = """\
usage: glossae recipes

List the recipes that come with glossae. 'glossae run NAME --help' shows what one of them sets."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line.

    Returns:
        The exit status: 0; 2 after an error that the user can mend, told in one line on standard error; 130
        after an interruption; 141 when whoever was reading the output has left.
    """
    try:
        _command(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except GlossaeError as error:
        print(f"glossae: {_one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("glossae: interrupted; the same command carries on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Python flushes standard output once more when it leaves, and would complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # what the system refuses wherever it is asked: a name too long for it, a disk that is full
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"glossae: {_one_line(f'{where}{error.strerror}')}", file=sys.stderr)
        return 2
    return 0


def _command(argv: Sequence[str]) -> None:
    match argv:
        case ["run", *arguments]:
            _run(arguments)
        case ["recipes", *arguments]:
            _recipes(arguments)
        case ["doctor", *arguments]:
            _doctor(arguments)
        case ["export", *arguments]:
            _export(arguments)
        case ["knob", *arguments]:
            _knob(arguments)
        case ["-h" | "--help"]:
            print(_HELP)
        case ["--version"]:
            print(f"glossae {__version__}")
        case []:
            raise GlossaeError("no command; try 'glossae run demo' or 'glossae --help'")
        case ["-h" | "--help" | "--version", word, *_]:
            raise GlossaeError(f"unexpected '{word}'")
        case [word, *_] if word.startswith("-"):
            raise GlossaeError(
                f"unknown flag '{word}'{nearest(word, ('--help', '--version'))} (flags follow the command)"
            )
        case [word, *_]:
            raise GlossaeError(
                f"unknown command '{word}'{nearest(word, ('run', 'recipes', 'export', 'knob', 'doctor'))} "
                "(there are run, recipes, export, knob and doctor)"
            )


def _run(arguments: Sequence[str]) -> None:
    given = flags.parse(arguments)
    if given.help:
        values = None
        if given.recipe is not None:
            values = recipe_values(given.recipe, given.overrides, given.quick)
        print(flags.help_text(values), end="")
        return
    if given.recipe is None:
        raise GlossaeError(f"run: which recipe? One of {', '.join(shipped_recipes())}, or a YAML file")
    recipe = load_recipe(given.recipe, given.overrides, given.quick)
    out = given.out or Path("runs") / recipe.name

    # on a shared machine, threads that spin while they wait for each other cost many times their work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if given.quiet:
        # the hub's client draws a bar for what it fetches
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if offline():
        # the hub's clients listen to a word of their own, and only before they are imported
        os.environ["HF_HUB_OFFLINE"] = "1"
    if given.dry_run:
        from glossae.plan import dry_run

        print(dry_run(recipe, out, given.until))
        return
    # torch and transformers take seconds to import: only once the recipe is known to be right
    from glossae.run import run_recipe

    run_recipe(recipe, out, until=given.until, quiet=given.quiet)


def _recipes(arguments: Sequence[str]) -> None:
    if list(arguments) in (["-h"], ["--help"]):
        print(_RECIPES_HELP)
        return
    if arguments:
        raise GlossaeError(f"recipes: unexpected '{arguments[0]}'")
    recipes = shipped_recipes()
    width = max(map(len, recipes))
    for name, description in recipes.items():
        print(f"{name:{width}}  {description}")


def _doctor(arguments: Sequence[str]) -> None:
    from glossae.doctor import HELP, examine

    if list(arguments) in (["-h"], ["--help"]):
        print(HELP)
        return
    if arguments:
        raise GlossaeError(f"doctor: unexpected '{arguments[0]}'")
    for line in examine():
        print(line)


def _export(arguments: Sequence[str]) -> None:
    from glossae import export

    given = export.parse(arguments)
    print(export.HELP if given is None else export.export(given))


def _knob(arguments: Sequence[str]) -> None:
    from glossae import knob

    given = knob.parse(arguments)
    print(knob.HELP if given is None else knob.carry_out(given))


def _one_line(message: str) -> str:
    """`message` without line breaks, and with what a terminal would obey made visible."""
    folded = re.sub(r"\s*[\r\n]+\s*", " ", message.strip())
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character
        for character in folded
    )
