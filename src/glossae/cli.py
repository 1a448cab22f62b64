"""The command line: `glossae run`, `recipes`, `export`, `knob`, `doctor`. A mistake is one line on standard error."""

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
        # what the system refuses wherever it is asked: a name too long for it, a disk that is full
        if error.errno is None:
            raise
        return _refusal(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    return 0


def _command(argv: list[str]) -> None:
    match argv:
        case ["run", *arguments]:
            _run(arguments)
        case ["recipes", "-h" | "--help"]:
            print(_RECIPES_HELP)
        case ["recipes"]:
            recipes = shipped_recipes()
            width = max(map(len, recipes))
            for name, description in recipes.items():
                print(f"{name:{width}}  {description}")
        case ["doctor"] | ["doctor", "-h" | "--help"]:
            from glossae import doctor

            for line in doctor.examine() if len(argv) == 1 else [doctor.HELP]:
                print(line)
        case ["recipes" | "doctor" as command, word, *_]:
            raise GlossaeError(f"{command}: unexpected '{word}'")
        case ["export", *arguments]:
            from glossae import export

            given = export.parse(arguments)
            print(export.HELP if given is None else export.export(given))
        case ["knob", *arguments]:
            from glossae import knob

            print(knob.knob(arguments))
        case ["-h" | "--help"]:
            print(_HELP)
        case ["--version"]:
            print(f"glossae {__version__}")
        case []:
            raise GlossaeError("no command; try 'glossae run demo' or 'glossae --help'")
        case ["-h" | "--help" | "--version", word, *_]:
            raise GlossaeError(f"unexpected '{word}'")
        case [word, *_] if word.startswith("-"):
            near = nearest(word, ("--help", "--version"))
            raise GlossaeError(f"unknown flag '{word}'{near} (flags follow the command)")
        case [word, *_]:
            near = nearest(word, ("run", "recipes", "export", "knob", "doctor"))
            raise GlossaeError(
                f"unknown command '{word}'{near} (there are run, recipes, export, knob and doctor)"
            )


def _run(arguments: list[str]) -> None:
    given = flags.parse(arguments)
    if given.help:
        named = given.recipe is not None
        values = recipe_values(given.recipe, given.overrides, given.quick) if named else None
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
