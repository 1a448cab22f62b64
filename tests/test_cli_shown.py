"""Nothing that is printed acts on a terminal, and no exception reaches a user as a traceback."""

import errno
import io
import json
import logging
import os
import re
import resource
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import save_file

from glossae import cli
from glossae.cli import main
from glossae.errors import GlossaeError, bug, one_line, visible
from glossae.files import replacing
from glossae.run.context import Show

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202edaer\u202c \x9b2J \u2067 \ufeff \U000e0041 \x7f \ud800 [bold]x[/no] :dog:"
SCRIPT = "import sys; from glossae.cli import main; sys.exit(main())"


def acts(text):
    """The characters by which a text acts on a terminal."""
    return {
        letter for letter in text if letter not in "\n\t" and re.match(r"[\x00-\x1f\x7f-\x9f]", letter)
    } | (
        {*text}
        & {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\ufeff\U000e0041\ud800"}
    )


@pytest.fixture
def doing(monkeypatch, tmp_path):
    """A function that lets the command `recipes` do something else; logs go to a folder of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def doing(act):
        monkeypatch.setattr(cli, "_recipes", lambda _: act())

    return doing


def raising(error):
    def act():
        raise error

    return act


# ---- what is printed


@given(st.text(st.characters(), max_size=40))
def test_visible_text_acts_on_nothing_and_prints_as_it_is_otherwise(text):
    assert acts(visible(text)) == set()
    assert acts(one_line(text)) == set()
    assert not {*one_line(text)} & {*"\n\t"}
    assert visible(visible(text)) == visible(text)
    if text.isprintable():
        assert visible(text) == text


def test_needed_characters_stay_and_hidden_ones_show():
    persian, khmer, hyphen = "می\u200cخواهم", "ភាសា\u200bខ្មែរ", "Donau\u00addampf"
    assert [visible(text) for text in (persian, khmer, hyphen)] == [persian, khmer, hyphen]
    assert visible("a\U000e0041b\u2060c") == "a\\U000e0041b\\u2060c"


def test_a_text_that_is_printed_acts_on_nothing(doing, capsys):
    doing(lambda: print(HOSTILE))
    assert main(["recipes"]) == 0
    said = capsys.readouterr().out
    assert acts(HOSTILE)
    assert acts(said) == set()
    assert "\\x1b[31mred" in said
    assert "\\u202edaer" in said
    assert "[bold]x[/no] :dog:" in said


def test_json_of_a_hostile_text_is_the_same_text_in_plain_ascii(doing, capsys):
    doing(lambda: {"text": HOSTILE})
    assert main(["recipes", "--json"]) == 0
    said = capsys.readouterr().out
    assert {letter for letter in said if not " " <= letter <= "~"} == {"\n"}
    assert json.loads(said) == {"text": HOSTILE}


def test_logs_and_warnings_of_libraries_act_on_nothing(doing, capsys, monkeypatch):
    before = logging.getLogRecordFactory(), warnings.formatwarning, threading.excepthook

    def act():
        handler = logging.StreamHandler(sys.stderr)
        logger = logging.Logger("a library")
        logger.addHandler(handler)
        logger.warning("a model of type %s", HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logger.exception("100 %")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            monkeypatch.setattr(
                warnings,
                "showwarning",
                lambda *told: print(warnings.formatwarning(*told[:4]), file=sys.stderr),
            )
            warnings.warn(HOSTILE, UserWarning, stacklevel=1)

    doing(act)
    assert main(["recipes"]) == 0
    said = capsys.readouterr().err
    assert acts(said) == set()
    assert "a model of type \\x1b[31mred" in said
    assert "100 %: a bug of glossae (ValueError: " in said
    assert "Traceback" not in said
    assert "UserWarning" in said
    assert (logging.getLogRecordFactory(), warnings.formatwarning, threading.excepthook) == before


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_names_as_text(monkeypatch, terminal):
    written = io.StringIO()
    show = Show(quiet=False)
    monkeypatch.setattr(show.console, "file", written)
    monkeypatch.setattr(show.console, "_force_terminal", terminal)
    with show.stage("fetch", HOSTILE) as progress:
        progress(0.5)
    show.note(HOSTILE)
    # rich's own colours and cursor
    said = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", written.getvalue())
    assert acts(said) == set()
    assert said.count("\\x1b[31mred") >= 2
    assert "[bold]x[/no] :dog:" in said


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1:strict"])
def test_a_console_that_lacks_letters_gets_escapes(encoding):
    shown = "import glossae.cli as c; c._recipes = lambda _: print('r\u00f8d \u2192 \U0001f680'); "
    done = subprocess.run(
        [sys.executable, "-c", shown + SCRIPT, "recipes"],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding.partition(":")[0]).endswith(" \\u2192 \\U0001f680\n")


# ---- exceptions


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out"), "out: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", b"out"), "out: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (OSError(errno.ENOTDIR, "Not a directory", "a/b"), "a/b: Not a directory"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000),
            f"{'x' * 276}...{'x' * 20}: File name too long",
        ),
        (OSError("a library's own words"), "a library's own words"),
        (TimeoutError(), "TimeoutError"),
        (MemoryError(), "there is not enough memory; the same command carries on where it stopped"),
        (
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "a file of weights cannot be read or written (Error while serializing: I/O error: No space left on device "
            "(os error 28))",
        ),
    ],
)
def test_what_the_machine_refuses_is_one_line_and_status_2(doing, capsys, tmp_path, error, told):
    doing(raising(error))
    assert main(["recipes"]) == 2
    assert capsys.readouterr() == ("", f"glossae: {told}\n")
    assert list(tmp_path.iterdir()) == []


class Panic(BaseException):
    """What libraries in Rust raise."""


def recursion():
    return recursion()


BUGS = {
    "StopIteration": raising(StopIteration()),
    "KeyError": raising(KeyError("a\nb\x1b[31m")),
    "MarkupError": raising(type("MarkupError", (Exception,), {})("closing tag [/x]")),
    "UnicodeEncodeError": lambda: "\u2192".encode("ascii"),
    "RecursionError": recursion,
    "AssertionError": raising(AssertionError()),
    "Panic": raising(Panic("called `Option::unwrap()` on a `None` value")),
    "SystemExit": raising(SystemExit(3)),
    "ExceptionGroup": raising(ExceptionGroup("two", [ValueError("one"), KeyError("two")])),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_one_line_that_names_its_log(doing, capsys, tmp_path, name):
    doing(BUGS[name])
    assert main(["recipes"]) == 70
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(
        rf"glossae: a bug of glossae \({name}.*\); the traceback is in {re.escape(str(tmp_path))}/glossae-\w+\.log: "
        "please report it with that file, which also holds the command line\n",
        captured.err,
    )
    assert acts(captured.err) == set()
    (log,) = tmp_path.iterdir()
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")
    assert log.stat().st_mode & 0o077 == 0


def test_a_bug_is_an_error_for_programs_too(doing, capsys):
    doing(raising(ZeroDivisionError("division by zero")))
    assert main(["recipes", "--json"]) == 70
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert said["status"] == 70
    assert said["error"].startswith("a bug of glossae (ZeroDivisionError: division by zero)")
    assert captured.err.count("\n") == 1


def test_a_bug_without_a_place_for_its_log_says_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(RecursionError) as raised:
        recursion()
    told = r"a bug of glossae \(RecursionError: .* in line \d+ of test_cli_shown.py\); its log cannot be written "
    assert re.fullmatch(told + r"\(No such file or directory\): please report this line", bug(raised.value))


def test_a_very_long_error_is_cut_in_its_middle(doing, capsys):
    doing(raising(ValueError("x" * 100_000)))
    assert main(["recipes"]) == 70
    assert len(capsys.readouterr().err) < 2100


def test_a_thread_that_fails_prints_no_traceback(doing, capsys):
    def act():
        thread = threading.Thread(target=raising(ValueError("in a thread")))
        thread.start()
        thread.join()

    doing(act)
    assert main(["recipes"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("glossae: a bug of glossae (ValueError: in a thread); the traceback is in ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_reader_who_leaves_during_a_run_ends_it_with_141(closed):
    script = """
import glossae.cli as cli
from glossae.run.context import Show
def act(_):
    show = Show(quiet=False)
    while True:
        print("a line")
        show.note("a note")
cli._recipes = act
"""
    with subprocess.Popen(
        [sys.executable, "-c", script + SCRIPT, "recipes"],
        stdout=subprocess.PIPE if closed == "stdout" else subprocess.DEVNULL,
        stderr=subprocess.PIPE if closed == "stderr" else subprocess.DEVNULL,
    ) as process:
        getattr(process, closed).close()
        assert process.wait() == 141


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_a_stream_that_is_not_there_is_no_error(closed):
    ask = f'"{sys.executable}" -c "{SCRIPT}" recipes {closed}'
    assert subprocess.run(["bash", "-c", ask], capture_output=True, check=False).returncode == 0


# ---- places that are none: every command with a folder or file says what is wrong with it

PLACES = {
    "nothing": lambda folder: folder / "none",
    "a file": lambda folder: folder / "file",
    "a folder": lambda folder: folder / "folder",
    "below a file": lambda folder: folder / "file" / "run",
    "a long name": lambda folder: folder / ("x" * 300),
    "a long path": lambda folder: folder / "/".join(["x" * 200] * 30),
    "a name of bytes": lambda folder: folder / os.fsdecode(b"\xff"),
    "a device": lambda folder: folder / "/dev/null",
    "a pipe": lambda folder: folder / "pipe",
}
COMMANDS = {
    "run": "run {}",
    "run out": "run demo --until corpora --model none --out {}",
    "export": "export {} --to sae-lens --out out",
    "export features": "export {} --to neuronpedia --out out",
    "knob save": "knob save {} --out out",
    "knob apply": "knob apply {} --model toy --prompt x",
    "knob export": "knob export {} --to vllm --out out",
    "figures": "figures {} --out out",
    "app": "app {}",
    "push": "push {} me/x",
    "explain": "explain {} --endpoint http://127.0.0.1:9/v1 --model x",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_is_none_is_one_line_and_status_2(monkeypatch, tmp_path, capsys, command, place):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    if place == "a pipe":
        if command in ("run", "knob apply", "knob export", "export"):
            pytest.skip("who reads a pipe waits for it")
        os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    words = [word.replace("{}", str(PLACES[place](tmp_path))) for word in COMMANDS[command].split()]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("glossae: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 2100
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def full_disk():
    """No file may grow beyond 1,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WRITERS = {
    "bytes": lambda path: path.write_bytes(b"x" * 9000),
    "weights": lambda path: save_file({"x": np.zeros(9000)}, path),
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_below_a_file_is_one_line_that_names_it(full_disk, tmp_path, what):
    path = tmp_path / "x.safetensors"

    def write():
        with replacing(path) as temporary:
            WRITERS[what](temporary)

    with pytest.raises(GlossaeError, match=f"^{re.escape(str(path))}: cannot be written .*File too large"):
        write()
    assert list(tmp_path.iterdir()) == []
