"""The command line: `glossae run`, `recipes`, `export`, `knob`, `doctor`. A mistake is one line on standard error."""

import argparse
import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from glossae import explain, export, figures, flags, knob
from glossae._version import __version__
from glossae.environment import offline
from glossae.errors import GlossaeError
from glossae.recipe import load_recipe, shipped_recipes, unknown_flag

_ABOUT = """\
glossae finds the units inside a language model that stand for a language, tests that they do, and turns
them up or down."""

_EXAMPLES = """\
  glossae run demo            every step, from text to report, on a toy: offline, a minute on two cores
  glossae run find            the same on your model, language and text: --model, --target, --text
  glossae run RECIPE          another recipe, with your model and text if you like
  glossae run ... --quick     a first page in two minutes
  glossae run ... --dry-run   what a run would download, hold in memory and take; no network
  glossae run --help          all settings

A run is a folder: its report.html is the page to read, results.json has every number."""

_DOCTOR = """\
Show what this machine has: versions and those that glossae needs, devices and the precision of a model on
each, caches and their sizes, free disk, what the environment says about the network, and how to install
missing optional features. No network is used; the place of a token is shown, the token is not.

The exit status is 0 when glossae can run here ('glossae run demo' needs no more), even where an optional
feature is missing. It is 2, with one line on standard error about what to mend, when a package is missing
or too old, Python is, torch does not load, or the cache cannot be written."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a command line.

    Returns:
        The exit status: 0; 2 after an error that the user can mend, told in one line on standard error; 130
        after an interruption; 141 when the reader of the output has left.
    """
    try:
        _command(sys.argv[1:] if argv is None else list(argv))
        if sys.stdout is not None:
            sys.stdout.flush()
    except GlossaeError as error:
        return _refusal(str(error))
    except KeyboardInterrupt:
        print("glossae: interrupted; the same command carries on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Python flushes standard output once more when it leaves, and would complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # the system refuses: a name too long for it, a disk that is full
        if error.errno is None:
            raise
        return _refusal(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    return 0


def _command(words: Sequence[str]) -> None:
    if not words:
        raise GlossaeError("no command; try 'glossae run demo' or 'glossae --help'")
    if words[0].startswith("-") and words[0] not in ("-h", "--help", "--version"):
        raise GlossaeError(f"{unknown_flag(words[0], ('help', 'version'))} (flags follow the command)")
    parser = flags.Parser(prog="glossae", usage="glossae COMMAND ...", description=_ABOUT, epilog=_EXAMPLES)
    parser.add_argument("--version", action="store_true", help="show the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="glossae")
    flags.add_run(commands).set_defaults(do=_run)
    recipes = "list the recipes that come with glossae"
    about = (
        "List the recipes that come with glossae. 'glossae run NAME --help' shows the values of one of them."
    )
    commands.add_parser("recipes", help=recipes, description=about).set_defaults(do=_recipes)
    export.add_export(commands)
    knob.add_knob(commands)
    explain.add_explain(commands)
    figures.add_figures(commands)
    doctor = "show what this machine has, and what is missing for which feature"
    commands.add_parser("doctor", help=doctor, description=_DOCTOR).set_defaults(do=_doctor)
    given = parser.read(words)
    if given.help:
        if given.command == "run":
            flags.show_values(given)
        print(given.parser.format_help(), end="")
    elif given.version:
        print(f"glossae {__version__}")
    else:
        given.do(given)


def _recipes(_: argparse.Namespace) -> None:
    recipes = shipped_recipes()
    width = max(map(len, recipes))
    for name, description in recipes.items():
        print(f"{name:{width}}  {description}")


def _doctor(_: argparse.Namespace) -> None:
    from glossae.doctor import examine

    for line in examine():
        print(line)


def _run(given: argparse.Namespace) -> None:
    if given.recipe is None:
        raise GlossaeError(f"run: which recipe? One of {', '.join(shipped_recipes())}, or a YAML file")
    recipe = load_recipe(given.recipe, flags.overrides(given), given.quick)
    out = Path(given.out or f"runs/{recipe.name}")

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

        print(dry_run(recipe, out, given.stage))
        return
    # torch and transformers take seconds to import: only once the recipe is known to be right
    from glossae.run import run_recipe

    run_recipe(recipe, out, until=given.stage, quiet=given.quiet)


def _refusal(message: str) -> int:
    """Print `message` without line breaks, and with what a terminal would obey made visible."""
    folded = re.sub(r"\s*[\r\n]+\s*", " ", message.strip())
    shown = "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character
        for character in folded
    )
    print(f"glossae: {shown}", file=sys.stderr)
    return 2
