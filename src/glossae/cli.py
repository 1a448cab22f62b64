"""The command line of `glossae`. A mistake is one line on standard error.

A command is a function that prints lines for a person and returns what `--json` prints instead of them (None: just
those lines). `--json` and `--quiet` are of every command, and are done here.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from glossae import app, completion, explain, export, figures, flags, knob, merge, push, ranks
from glossae._version import __version__
from glossae.errors import INTERRUPTED, GlossaeError, bug, one_line, visible
from glossae.files import fingerprint
from glossae.memory import out_of_memory
from glossae.recipe import load_recipe, shipped_recipes, unknown_flag

_ABOUT = """\
glossae finds the units inside a language model that stand for a language, tests that they do, and turns
them up or down."""

_EXAMPLES = """\
  glossae run demo            every step, from text to report, on a toy: offline, a minute on two cores
  glossae run find            this on your model, language and text: --model, --target, --text
  glossae run RECIPE          another recipe, with your model and text if you like
  glossae run ... --quick     a first page in two minutes
  glossae run ... --dry-run   what a run would download, hold in memory and take; no network
  glossae run --help          what matters most, and the groups of settings; --help all shows every setting

--json prints one JSON object on standard output, {"error": "...", "status": 2} after an error. --quiet prints
warnings and errors only, and the path of a run's page or a shard's last line.

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
        The exit status: 0; 2 after an error that the user can mend, told in one line on standard error; 70 after a
        bug of glossae, whose traceback is in a log that the line names; 130 after an interruption; 141 when the reader
        of the output has left; 143 after SIGTERM.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        with _ended_in_order(), _console():
            status, facts = _outcome(words)
            if "error" in facts and not ranks.silent():
                facts["status"] = status
                print(f"glossae: {_cut(one_line(facts['error']), 2000)}", file=sys.stderr)
            if "--json" in words and not ranks.silent():
                # in ASCII, so that nothing in a text or a name can act on a terminal
                print(json.dumps(facts, indent=1, default=str).replace("\x7f", "\\u007f"))
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            ranks.leave()
    except BrokenPipeError:
        _leave_output(sys.stdout, sys.stderr)
        return 141
    except KeyboardInterrupt as error:
        # while the last lines were printed
        return _interrupted(error)
    except OSError as error:
        # a disk that is full
        _leave_output(sys.stdout)
        with contextlib.suppress(OSError):
            print(f"glossae: standard output: {error.strerror}", file=sys.stderr)
        return 2
    return status


class _EndedError(KeyboardInterrupt):
    """SIGTERM, by which a system, a scheduler or torchrun ends a process."""


def _interrupted(error: KeyboardInterrupt) -> int:
    """The exit status of a process that a signal has interrupted: 128 and the signal's number."""
    return 128 + (signal.SIGTERM if isinstance(error, _EndedError) else signal.SIGINT)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """In the block, SIGTERM interrupts as Ctrl-C does; a caller's own way with it is left alone."""
    # only the main thread may say what a signal does
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(*_: object) -> None:
        raise _EndedError

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Shown:
    """Standard output on which nothing acts on the terminal: commands print text, names and labels of others there."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what of `text` can be shown, and the rest as escapes."""
        return int(self._stream.write(visible(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Record(logging.LogRecord):
    """A record of any library's log: nothing in it acts on the terminal, and its traceback goes to a log of ours."""

    def getMessage(self) -> str:  # noqa: N802
        """The message with its arguments."""
        message = super().getMessage()
        if self.exc_info and self.exc_info[1] is not None:
            message = f"{message}: {bug(self.exc_info[1])}"
            self.msg, self.args, self.exc_info = message, None, None
        return visible(message)


@contextlib.contextmanager
def _console() -> Iterator[None]:
    """In the block, what is printed, logged or warned of is visible, and is escaped where the encoding lacks it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    record, warning, thread = logging.getLogRecordFactory(), warnings.formatwarning, threading.excepthook

    def in_a_thread(failed: threading.ExceptHookArgs) -> None:
        # the main thread notices by itself that the reader has left
        if failed.exc_value is not None and not isinstance(failed.exc_value, BrokenPipeError):
            print(f"glossae: {one_line(bug(failed.exc_value))}", file=sys.stderr)

    logging.setLogRecordFactory(_Record)
    warnings.formatwarning = lambda *told, **more: visible(warning(*told, **more))
    threading.excepthook = in_a_thread
    out: Any = None if sys.stdout is None else _Shown(sys.stdout)
    try:
        with contextlib.redirect_stdout(out):
            yield
    finally:
        logging.setLogRecordFactory(record)
        warnings.formatwarning, threading.excepthook = warning, thread


def _leave_output(*streams: Any) -> None:
    """Python flushes the standard streams once more when it leaves, and would complain again."""
    for stream in streams:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _outcome(words: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """The exit status of a command line, and what it comes to; `error` says what is wrong."""
    try:
        facts = _command(words)
    except GlossaeError as error:
        return 2, {"error": str(error)}
    except KeyboardInterrupt as error:
        return _interrupted(error), {"error": INTERRUPTED}
    except BrokenPipeError:
        raise
    # also a panic of a library in Rust, which is no Exception
    except BaseException as error:
        if out_of_memory(error):
            return 2, {"error": "there is not enough memory; the same command carries on where it stopped"}
        if isinstance(error, OSError):
            # the system refuses: a name too long for it, a disk that is full
            what = error.strerror or str(error) or type(error).__name__
            return 2, {"error": f"{_cut(_text(error.filename), 300)}: {what}" if error.filename else what}
        if type(error).__name__ == "SafetensorError":
            # not an OSError even where the disk is full
            return 2, {"error": f"a file of weights cannot be read or written ({error})"}
        return 70, {"error": bug(error)}
    return (2 if "error" in facts else 0), facts


def _text(name: Any) -> str:
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)


def _cut(text: str, most: int) -> str:
    """A text of at most so many characters: the middle of a longer one is left out."""
    return text if len(text) <= most else f"{text[: most - 24]}...{text[-20:]}"


def _command(words: Sequence[str]) -> dict[str, Any]:
    if not words:
        raise GlossaeError("no command; try 'glossae run demo' or 'glossae --help'")
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise GlossaeError(
            "the folder in which this command was started is gone: go to another one"
        ) from error
    own = ("-h", "--help", "--version", "--json", "--quiet")
    if words[0].startswith("-") and words[0] not in own:
        raise GlossaeError(f"{unknown_flag(words[0], ('help', 'version'))} (flags follow the command)")
    # before the flags are read: a mistake in them is one line, too, if several ranks find it
    command = next((word for word in words if not word.startswith("-")), None)
    # what a run of several would cost is asked for without the others
    with ranks.joined() if command == "run" and "--dry-run" not in words else contextlib.nullcontext():
        return _carried_out(words)


def _carried_out(words: Sequence[str]) -> dict[str, Any]:
    given = _parser().read(words)
    # what is printed for a person is dropped where nobody is to read it
    lines, unread = io.StringIO(), given.json or (given.quiet and not given.help)
    with contextlib.redirect_stdout(lines) if unread else contextlib.nullcontext():
        if given.help:
            shown = flags.run_help(given) if given.command == "run" else given.parser.format_help()
            print(shown, end="")
            return {"help": shown}
        if given.version:
            print(f"glossae {__version__}")
            return {"version": __version__}
        if given.command is None:
            raise GlossaeError("no command; try 'glossae run demo' or 'glossae --help'")
        facts: dict[str, Any] | None = given.do(given)
    if facts is None:
        return {"lines": lines.getvalue().splitlines()}
    if given.quiet and not given.json:
        if "page" in facts:
            print(facts["page"])
        elif "shard" in facts:
            print(lines.getvalue(), end="")
    return facts


def _parser() -> flags.Parser:
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
    figures.add_figures(commands)
    app.add_app(commands)
    merge.add_merge(commands)
    push.add_push(commands)
    explain.add_explain(commands)
    doctor = "show what this machine has, and what is missing for which feature"
    commands.add_parser("doctor", help=doctor, description=_DOCTOR).set_defaults(do=_doctor)
    completion.add_completion(commands)
    return parser


def _recipes(_: argparse.Namespace) -> dict[str, Any]:
    recipes = shipped_recipes()
    width = max(map(len, recipes))
    for name, description in recipes.items():
        print(f"{name:{width}}  {description}")
    return {"recipes": recipes}


def _doctor(_: argparse.Namespace) -> dict[str, Any]:
    from glossae.doctor import examine, lines

    facts = examine()
    for line in lines(facts):
        print(line)
    return facts


def _run(given: argparse.Namespace) -> dict[str, Any]:
    if given.recipe is None:
        raise GlossaeError(f"run: which recipe? One of {', '.join(shipped_recipes())}, or a YAML file")
    recipe = load_recipe(given.recipe, flags.overrides(given), given.quick)
    out = Path(given.out or f"runs/{recipe.name}")
    ranks.agree("recipe or version", fingerprint([recipe.to_yaml(), str(out), __version__]))
    if recipe.device == "split" and ranks.world()[1] > 1:
        raise GlossaeError(
            "device: 'split' shares a model among GPUs in one process; give auto under torchrun"
        )
    if given.shard is not None and ranks.world()[1] > 1:
        raise GlossaeError("--shard: a shard is computed by one process: start each without torchrun")
    if given.quiet:
        # the hub's client draws a bar for what it fetches
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # torch and transformers take seconds to import: only once the recipe is known to be right
    if given.dry_run:
        own, count = ranks.said()
        if own:
            return {}
        from glossae.plan import dry_run
        from glossae.run import check_folder

        check_folder(out, recipe)
        plan = dry_run(recipe, out, given.stage, count)
        print(plan.text)
        return plan.facts
    if ranks.world()[0]:
        from glossae.run import assist

        assist(recipe, out)
        return {}
    if given.shard is not None:
        from glossae.run import parse_shard, run_shard

        shard = parse_shard(given.shard)
        done = run_shard(recipe, out, shard, until=given.stage, quiet=given.quiet)
        print(f"shard     {shard} of the stage {done.stage}: {done.own} of {done.cells} cells are done")
        return {"folder": str(out), "shard": str(shard), **done._asdict()}
    from glossae.run import run_recipe

    track = given.track or "none"
    ran = run_recipe(recipe, out, until=given.stage, quiet=given.quiet, again=given.again, track=track)
    for line in ran.lines:
        print(line)
    return ran.to_json()
