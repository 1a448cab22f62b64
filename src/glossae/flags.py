"""The parser of the command line, and the flags of `glossae run`: every setting of a recipe by its dotted key."""

import argparse
import re
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.recipe import (
    PRECISIONS,
    Recipe,
    Text,
    all_settings,
    fit,
    nearest,
    quick_settings,
    recipe_values,
    shipped_recipes,
    unknown_flag,
    value_text,
)
from glossae.stages import STAGES

_ABOUT = """\
Run a recipe from text to report. Work that is done in the folder is not done again: the same command
carries on after a crash. Finished stages that a changed setting would replace are kept, unless --again is given.

  glossae run find --model M --target sv --text "sv=A.txt en=B.txt da=C.txt" --out runs/sv
                                                     Swedish units of your model, on your text
  glossae run demo                                   the toy, offline
  glossae run demo --sae.k 16 --until sae --out runs/k16    another k, no further than the autoencoder
  glossae run pythia-14m --model FOLDER --layer 4 --corpora.train A.tsv --corpora.test B.tmx --out runs/mine
  glossae run mine.yaml                              a recipe of your own; 'base: demo' in it inherits
  glossae run paper --dry-run                        downloads, memory and time; no network

Every key below is also a key of the YAML file: --sae.k 16 is 'sae:', and under it '  k: 16'. Commas separate
the elements of a list, blanks separate sources of text and tasks, and none removes a value."""

_SHORT = {"languages.target": "target", "languages.reference": "reference", "corpora.text": "text"}
# the group of the settings without a dot, the word for all groups, and the settings that the short help shows
_RECIPE, _ALL = "recipe", "all"
_FIRST = (*_SHORT, "model", "site", "layer")
_TEXT_HELP = """\
The languages, and your text in them: one source for each language, or sources with several. All text of a
run is cut out of it."""


def _layout(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=36)


class _Once(argparse.Action):
    """Store the value of a flag that may be given once."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:  # noqa: ARG002
        if getattr(namespace, self.dest, None) is not None:
            raise GlossaeError(f"{option_string}: is given twice")
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations. Its errors are `GlossaeError`s of one line.

    Every command has `--help`, `--json` and `--quiet`.

    Args:
        topics: whether `--help` takes the name of a group of flags.
        options: of `argparse.ArgumentParser`.
    """

    def __init__(self, *, topics: bool = False, **options: Any) -> None:
        super().__init__(allow_abbrev=False, add_help=False, formatter_class=_layout, **options)
        self.register("action", None, _Once)
        self.set_defaults(parser=self)
        self.needed: list[argparse.Action] = []
        topic: dict[str, Any] = {"nargs": "?", "const": True, "metavar": "GROUP"}
        shown = "show this; with a group, its settings" if topics else "show this"
        # without defaults, so that the command's own parser does not take back a flag before the command
        own: dict[str, Any] = {"action": "store_true", "default": argparse.SUPPRESS}
        help_ = topic | {"default": argparse.SUPPRESS} if topics else own
        self.add_argument("-h", "--help", **help_, help=shown)
        self.add_argument("--json", **own, help="print one JSON object, also for an error")
        self.add_argument("--quiet", **own, help="print warnings and errors only (run: and the page's path)")

    def need(self, *names: str, **options: Any) -> None:
        """Add an argument that `read` refuses to miss."""
        self.needed.append(self.add_argument(*names, **options))

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print together with the usage."""
        said = message.removeprefix("argument ").replace("expected one argument", "needs a value")
        raise GlossaeError(said.replace("ignored explicit argument", "takes no value, got"))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = [*(action.choices or ())]
        if choices and value not in choices:
            flag = f"{action.option_strings[0]}: " if action.option_strings else ""
            *others, last = choices
            there_are = f"there are {', '.join(others)} and {last}" if others else f"there is only {last}"
            raise GlossaeError(
                f"{flag}unknown {action.dest} '{value}'{nearest(value, choices)} ({there_are})"
            )

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The values of a command line; `parser` is the parser of its command, `root` this one.

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
        for name in ("help", "json", "quiet"):
            setattr(given, name, getattr(given, name, False))
        given.root = self
        parser = given.parser
        command = parser.prog.removeprefix("glossae ")
        # argparse takes the value out of `--name=--`
        if "--" in rest or any("--" in (word, word.partition("=")[2]) for word in words):
            raise GlossaeError(f"{command}: unexpected '--': leave it out")
        if any("\0" in word for word in words):
            raise GlossaeError(f"{command}: a word has the character NUL, which no name or text can have")
        for word in sorted(rest, key=lambda word: not word.startswith("-")):
            if not word.startswith("-"):
                hint = ": put a value that has blanks in quotes" if "=" in word else ""
                raise GlossaeError(f"{command}: unexpected '{word}'{hint}")
            known = [flag.lstrip("-") for flag in parser._option_string_actions]
            raise unknown_flag(word.partition("=")[0], known)
        for action in parser.needed:
            if not (given.help or getattr(given, action.dest)):
                name = action.option_strings[0] if action.option_strings else action.metavar
                raise GlossaeError(f"{command}: {name} is missing: {action.help}")
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
    usage = "glossae run RECIPE [--out DIR] [--until STAGE] [--quick] [--again] [--dry-run] [--KEY VALUE ...]"
    parser: Parser = commands.add_parser(
        "run", help="run a recipe, from text to report", usage=usage, description=_ABOUT, topics=True
    )
    text = parser.add_argument_group("languages and text", _TEXT_HELP)
    command = parser.add_argument_group("the command")
    recipe = "a name ('glossae recipes' lists them) or a YAML file"
    command.add_argument("recipe", nargs="?", metavar="RECIPE", help=recipe)
    command.add_argument("--out", type=typed(Text), metavar="DIR", help="the run's folder [runs/NAME]")
    until = f"the last stage: {', '.join(STAGES)}"
    command.add_argument("--until", dest="stage", choices=STAGES, metavar="STAGE", help=until)
    small = ", ".join(f"{key} {value_text(value)}" for key, value in quick_settings().items())
    quick = (
        "a first page in about two minutes, from less text and fewer measurements. It reduces what is larger in the "
        f"recipe to {small}. Flags override it"
    )
    command.add_argument("--quick", action="store_true", help=quick)
    precision = f"the precision of every stage: {', '.join(PRECISIONS)} at once"
    command.add_argument("--precision", metavar="X", help=precision)
    again = "replace finished stages of the folder whose settings, text or model have changed"
    command.add_argument("--again", action="store_true", help=again)
    track = "send numbers to trackio (local), wandb or none [none]"
    command.add_argument("--track", choices=("trackio", "wandb", "none"), metavar="TRACKER", help=track)
    shard = "compute a part of the next stage, such as 3/16 (docs: scale)"
    command.add_argument("--shard", metavar="K/N", help=shard)
    dry_run = "fetch, run and write nothing; show downloads, memory and time"
    command.add_argument("--dry-run", action="store_true", help=dry_run)
    sections: dict[str, Any] = {}
    for key, field in all_settings(Recipe).items():
        group = _group(key)
        if group not in sections:
            sections[group] = parser.add_argument_group(group, _about(group))
        flags = [f"--{name}" for name in (_SHORT.get(key), key) if name]
        words = " ".join((field.description or "").split()).replace("%", "%%")
        alone: dict[str, Any] = {"nargs": "?", "const": "true"} if key == "chat" else {}
        (text if key in _SHORT else sections[group]).add_argument(
            *flags, dest=key, metavar=_metavar(field.annotation), help=f"{words} [%(default)s]", **alone
        )
    return parser


def _section(
    formatter: argparse.HelpFormatter, title: str | None, about: str | None, actions: list[argparse.Action]
) -> None:
    formatter.start_section(title)
    formatter.add_text(about)
    formatter.add_arguments(actions)
    formatter.end_section()


def _group(key: str) -> str:
    """The group of a setting in the help; settings without a dot are the recipe's own."""
    return key.rpartition(".")[0] or _RECIPE


def _about(group: str) -> str:
    if group == _RECIPE:
        return "The model, the site, the protocol, and what else concerns every stage."
    return " ".join((Recipe.model_fields[group].annotation.__doc__ or "").split())


def help_topics() -> list[str]:
    """What `glossae run --help` takes: the groups of settings, and the word for all of them."""
    return [*dict.fromkeys(map(_group, all_settings(Recipe))), _ALL]


def run_help(given: argparse.Namespace) -> str:
    """The help of `glossae run`: the flags that matter most and the groups, one group, or all of them.

    The values are those of the given recipe, or else the defaults.

    Raises:
        GlossaeError: there is no such group, or no such recipe.
    """
    topic, recipe = ("" if given.help is True else given.help), given.recipe
    *groups, _ = help_topics()
    if (
        recipe is None
        and topic not in ("", _ALL, *groups)
        and (topic in shipped_recipes() or path_named(topic).is_file())
    ):
        topic, recipe = "", topic
    if topic not in ("", _ALL, *groups):
        raise GlossaeError(
            f"--help: unknown group '{topic}'{nearest(topic, groups)} (there are {', '.join(groups)}; {_ALL} shows all)"
        )
    values = recipe_values(recipe, overrides(given), given.quick)
    texts = {key: value_text(values[key]) if key in values else "needed" for key in all_settings(Recipe)}
    parser: Parser = given.parser
    parser.set_defaults(**texts)
    if topic == _ALL:
        return parser.format_help()
    formatter = parser._get_formatter()
    if topic:
        own = [action for action in parser._actions if action.dest in texts and _group(action.dest) == topic]
        _section(formatter, topic, _about(topic), own)
        return formatter.format_help()
    for action in parser._actions:
        if action.dest == "quick":
            action.help = f"{(action.help or '').partition('. It ')[0]}; --help {_ALL} lists what it reduces"
    formatter.add_usage(parser.usage, parser._actions, [])
    formatter.add_text(parser.description)
    for section in parser._action_groups:
        if section.title not in groups or section.title == _RECIPE:
            own = [
                action
                for action in section._group_actions
                if action.dest not in texts or action.dest in _FIRST
            ]
            _section(formatter, section.title, None, own)
    lines = (f"  {group:<12}{_about(group).partition('. ')[0].rstrip('.')}" for group in groups)
    formatter.add_text("\n".join(["groups of settings:", *lines]))
    name = recipe or "RECIPE"
    formatter.add_text(
        f"'glossae run {name} --help GROUP' shows a group's settings, '--help {_ALL}' every setting."
    )
    return formatter.format_help()


def overrides(given: argparse.Namespace) -> dict[str, str]:
    """The settings that flags of `glossae run` name, as text by dotted key."""
    values = vars(given)
    found = {} if given.precision is None else dict.fromkeys(PRECISIONS, given.precision)
    return found | {key: values[key] for key in all_settings(Recipe) if values[key] is not None}


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
