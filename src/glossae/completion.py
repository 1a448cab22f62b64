"""`glossae completion`: a script for a shell, made of the command line's own parser by shtab."""

import argparse
import re
from typing import Any

from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.flags import help_topics
from glossae.recipe import shipped_recipes

SHELLS = ("bash", "zsh", "fish")
_ABOUT = """\
Print a script that lets a shell complete commands, recipes, flags and the values of settings.

  bash    glossae completion bash > ~/.local/share/bash-completion/completions/glossae
  zsh     glossae completion zsh > ~/.zfunc/_glossae        with ~/.zfunc in fpath, before compinit
  fish    glossae completion fish > ~/.config/fish/completions/glossae.fish

The extra completion (shtab) writes the script; the script itself needs nothing."""
# what the words for values in the help stand for
_FOLDERS, _FILES = ("DIR", "FOLDER", "RUN", "MODEL"), ("FILE", "PLACE")
# shtab takes what a function's name says of files for leave to complete them as files
_BASH = """\
_glossae_recipe_files() {{
  compgen -W "{names}" -- "$1"
  compgen -f -X '!*.y*ml' -- "$1"
  compgen -d -- "$1"
}}"""


def add_completion(commands: Any) -> None:
    """Add `glossae completion` to the commands."""
    short = "print a script with which a shell completes commands, recipes and settings"
    usage = f"glossae completion {'|'.join(SHELLS)}"
    parser = commands.add_parser("completion", help=short, usage=usage, description=_ABOUT)
    parser.need("shell", nargs="?", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(do=_completion)


def _completion(given: argparse.Namespace) -> dict[str, Any]:
    try:
        import shtab
    except ImportError as error:
        raise GlossaeError(f"completion: needs shtab: {install('completion')}") from error
    names = " ".join(shipped_recipes())
    recipe: Any = {
        "bash": "_glossae_recipe_files",
        "zsh": f"{{_alternative 'recipes:recipe:({names})' 'files:file:_files'}}",
        "fish": f"{names} {shtab.FILE['fish']}",
        "preamble": {"bash": _BASH.format(names=names)},
    }
    for action in _actions(given.root):
        action.help = (action.help or "").removesuffix(" [%(default)s]")
        words = str(action.metavar or "")
        if action.dest == "recipe":
            action.complete = recipe  # type: ignore[attr-defined]
        elif words == "GROUP":
            action.choices = help_topics()
        elif action.choices is None and re.fullmatch(r"[a-z][\w.-]*(\|[a-z][\w.-]*)+", words):
            action.choices = words.split("|")
        elif words in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif words in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(given.root, given.shell)
    print(script)
    return {"shell": given.shell, "script": script}


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments of a parser and of the parsers of its commands."""
    found: list[argparse.Action] = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            found += [
                each for own in {id(p): p for p in action.choices.values()}.values() for each in _actions(own)
            ]
    return found
