"""Malformed inputs of seven kinds through the command line: one line, status 2, in 10 s and 2 GB, and no file is left.

    python -m pytest -m slow -s tests/test_malformed.py

prints a table by kind. The inputs are those of the tests of each kind; here all go the way of a user.
"""

import contextlib
import itertools
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE / name) for name in ("corpora", "effects", "hub", "lm", "run", "sae")]

import test_effects_knob
import test_formats_reading
import test_hostile_texts
import test_hub_data_sets
import test_hub_models
import test_lm_load
import test_opus
import test_task_rows
from hub_client import FORGET
from loopback_hub import LoopbackHub

import hostile
import test_cli_explain
import test_cli_odd
import test_hostile
import test_recipe
from glossae.errors import GlossaeError
from glossae.recipe import load_recipe
from test_cli_explain import run, server  # noqa: F401

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]
MOST, SECONDS = 2 * 2**30, 10.0
# carries out one command line after the other, as `python -m glossae` does: tests check every shape, which takes time
CHILD = """
import json, os, sys, time
from pathlib import Path
from glossae.cli import main

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    words, place, environment, said = json.loads(line)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1), os.dup2(file, 2), os.close(file)
    Path("/proc/self/clear_refs").write_text("5")
    held, start, spent = memory("VmRSS"), time.perf_counter(), time.process_time()
    status = main(words)
    took = time.perf_counter() - start, time.process_time() - spent
    found = status, *took, memory("VmHWM") - held, memory("VmHWM")
    sys.stdout.flush(), sys.stderr.flush()
    print(json.dumps(found), file=answers, flush=True)
"""


class Case(NamedTuple):
    """A command line that is to be refused, and what the refusal names."""

    line: list[str]
    says: str


class Outcome(NamedTuple):
    status: int
    said: str
    seconds: float
    # of the processor: other processes may keep it busy
    spent: float
    # bytes above those held before, and in all
    grown: int
    peak: int
    # files that are new or changed
    left: list[str]


class Child:
    """A process of at most 2 GB."""

    def __init__(self, said):
        self.said = said
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MOST, MOST)),
        )

    def __call__(self, line):
        """The status, seconds, those of the processor, memory above that before and in all, and what was said."""
        asked = [line, str(Path.cwd()), dict(os.environ), str(self.said)]
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, self.said.read_text()
        return *json.loads(answer), self.said.read_text(errors="surrogateescape")

    def close(self):
        self._process.communicate()


def given(test):
    """The cases of a parametrized test."""
    return [
        case.values if isinstance(case, type(pytest.param())) else case
        for mark in test.pytestmark
        if mark.name == "parametrize"
        for case in mark.args[1]
    ]


@pytest.fixture(scope="module")
def good(tmp_path_factory, tiny_model, tiny_lm):
    """A folder with a good text, a good SAE and good knobs."""
    place = tmp_path_factory.mktemp("good")
    lines = test_hostile_texts.lines_of("labelled.tsv")
    (place / "text.tsv").write_bytes(test_hostile_texts.as_bytes(lines))
    test_hostile.autoencoder().save(place / "sae")
    test_effects_knob.knob_of(tiny_lm).save(place / "added.safetensors")
    test_effects_knob.knob_of(tiny_lm, "jumprelu", "set").save(place / "set.safetensors")
    return place


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A function that makes an empty working folder; temporary files and caches are below the same folder."""
    numbers = itertools.count()
    for name in ("tmp", "cache", "cases"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))

    def folder():
        place = tmp_path / "cases" / str(next(numbers))
        place.mkdir()
        monkeypatch.chdir(place)
        return place

    return folder


def files(root):
    """Every file of the last case, and of the folders for temporary files and caches, with its size and time."""
    last = max((root / "cases").iterdir(), key=lambda case: int(case.name))
    found = {}
    for path in (path for top in (root / "tmp", root / "cache", last) for path in top.rglob("*")):
        with contextlib.suppress(OSError):
            about = path.lstat()
            if not stat.S_ISDIR(about.st_mode):
                found[str(path.relative_to(root))] = (about.st_size, about.st_mtime_ns)
    return found


def outcome(root, child, line, whole=()):
    """What a command line comes to in a process; names that end in `whole` are of files that may be left, whole."""
    before = files(root)
    status, *numbers, said = child(line)
    after = files(root)
    changed = [name for name in after if after[name] != before.get(name)]
    # locks stay, and so does the beginning of a file that the same command carries on
    left = [name for name in changed if not name.endswith((".lock", ".part", ".part.json", *whole))]
    return Outcome(status, said, *numbers, left)


def checks(case, found):
    """What is right about an outcome, by the claim."""
    said = found.said
    return {
        "one line": said.startswith("glossae: ") and said.count("\n") == 1 and said[:-1].isprintable(),
        "status 2": found.status == 2,
        "names it": case.says in said,
        f"within {SECONDS:g} s": found.spent < SECONDS,
        "below 2 GB": found.peak < MOST,
        "no file left": not found.left,
    }


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    """A process for the inputs of all kinds; a first line does the imports, which are no work on an input."""
    place = tmp_path_factory.mktemp("child")
    child = Child(place / "said")
    for line in (
        find(place, place / "none.tsv"),
        ["knob", "apply", "none", "--model", "none", "--prompt", "x"],
    ):
        assert child(line)[0] == 2
    yield child
    child.close()


@pytest.fixture
def refused(tmp_path, capfd, child):
    """A function that gives all cases of a kind to the command line, and prints a row of the table."""

    def refused(kind, cases, least, child=child, whole=()):
        found, right, wrong = [], [], []
        for case in cases:
            found.append(made := outcome(tmp_path, child, case.line, whole))
            right.append(checks(case, made))
            failed = [claim for claim, fine in right[-1].items() if not fine]
            if failed:
                wrong.append((failed, case.line[-3:], case.says, made))
        told = ", ".join(f"{claim} {sum(each[claim] for each in right)}" for claim in right[0])
        with capfd.disabled():
            print(
                f"\n{kind:16} {len(found):3} inputs: {told}; slowest {max(made.seconds for made in found):.2f} s, "
                f"{max(made.spent for made in found):.2f} s of the processor, "
                f"largest growth {max(made.grown for made in found) / 1e6:.0f} MB, "
                f"peak {max(made.peak for made in found) / 1e6:.0f} MB",
                flush=True,
            )
        assert wrong == []
        assert len(found) >= least

    return refused


def find(place, text, model="no-model", **more):
    """The command that looks for units in a text."""
    flags = [f"--{key.replace('__', '.')}={value}" for key, value in more.items()]
    source = ["--model", str(model), "--text", str(text), "--target", "da", "--reference", "en"]
    return ["run", "find", *source, "--out", str(place / "out"), "--quiet", *flags]


def test_texts(folder, refused):
    def cases():
        for fault in (*test_hostile_texts.FAULTS, *test_hostile_texts.LARGE):
            place = folder()
            yield Case(test_hostile_texts.command(place, fault), fault.says)

    refused("texts", cases(), 200)


# faults of a text that are none of a task, or are told in other words
OF_TEXT = ("unknown label", "label is", "needs text", "pair is", "doc is", "header", "'text' is")


def test_tasks(folder, good, refused):
    def cases():
        def named(place, source):
            return find(place, good / "text.tsv", tasks__names=source)

        for name, content, words in given(
            test_task_rows.test_what_is_wrong_with_a_file_is_one_line_with_its_place
        ):
            place = folder()
            (place / name).write_text(content)
            yield Case(named(place, f"mood:da={place / name}"), words)
        for text, words in given(test_task_rows.test_names_that_are_not_understood):
            yield Case(named(folder(), f"'{text}'"), words)
        for fault in test_hostile_texts.FAULTS:
            form = fault.form
            if form not in ("labelled.tsv", "records.jsonl", "records.csv", "treebank.conllu"):
                continue
            if any(words in fault.says for words in OF_TEXT):
                continue
            place = folder()
            (place / form).write_bytes(fault.content)
            scala = "scala:" if form == "treebank.conllu" else ""
            yield Case(named(place, f"mood:da={scala}{place / form}"), fault.says)

    refused("tasks", cases(), 50)


def test_models(folder, good, refused, tiny_model):
    pytest.importorskip("gguf")

    def cases():
        for _, kind, file in hostile.corpus(folder(), good / "sae", good / "set.safetensors", tiny_model):
            if kind == "model":
                yield Case(find(folder(), good / "text.tsv", file), "model")
        for spoil, words in test_lm_load.SPOILT.values():
            place = folder()
            shutil.copytree(tiny_model, place / "model")
            spoil(place / "model")
            yield Case(find(place, good / "text.tsv", place / "model"), words)
        for name in given(test_lm_load.test_a_name_of_no_model):
            yield Case(find(folder(), good / "text.tsv", name[0]), "model: ")

    refused("models", cases(), 40)


def test_autoencoders(folder, good, refused, tiny_model):
    def cases():
        def taken(place, source):
            return find(place, good / "text.tsv", tiny_model, sae__from=source, layer=1)

        for _, kind, file in hostile.corpus(folder(), good / "sae", good / "set.safetensors", tiny_model):
            if kind == "sae":
                yield Case(taken(folder(), file), str(file.parent))
        for writer, changes, words in test_formats_reading.CONFIGS:
            place = folder()
            writer(place / "sae", changes)
            yield Case(taken(place, place / "sae"), words)
        for writer, changes, words in test_formats_reading.TENSORS:
            place = folder()
            writer(place / "sae", None, changes)
            yield Case(taken(place, place / "sae"), words)

    refused("autoencoders", cases(), 100)


def test_knobs(folder, good, refused, tiny_model):
    def cases():
        def applied(file):
            yield Case(
                ["knob", "apply", str(file), "--model", str(tiny_model), "--prompt", "Hej", "--tokens", "2"],
                str(file.parent),
            )
            yield Case(
                ["knob", "export", str(file), "--to", "vllm", "--out", str(file.parent / "out.json")],
                str(file.parent),
            )

        for _, kind, file in hostile.corpus(folder(), good / "sae", good / "set.safetensors", tiny_model):
            if kind == "knob":
                folder()
                yield from applied(file)
        for change, _ in given(test_effects_knob.test_a_header_that_was_changed_is_refused):
            file = folder() / "knob.safetensors"
            shutil.copyfile(good / "added.safetensors", file)
            test_effects_knob.changed(file, **change)
            yield from applied(file)
        content = (good / "added.safetensors").read_bytes()
        spoilt = [content[:size] for size in (0, 1, 8, 9, 500, len(content) // 2, len(content) - 1)]
        # a bit of each part: the header's length, its text, the tensors
        for at in (0, 7, 8, 20, 200, 600, len(content) - 300, len(content) - 5):
            spoilt.append(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        spoilt += [content + b"x", content * 2, b"{}", b"PK\x03\x04" + content, bytes(4096)]
        for bytes_ in spoilt:
            file = folder() / "knob.safetensors"
            file.write_bytes(bytes_)
            yield from applied(file)

    refused("knobs", cases(), 50)


def test_recipes(folder, good, refused, tiny_model):
    def cases():
        for text in (
            *test_cli_odd.RECIPES,
            *(text for text, _ in given(test_recipe.test_a_bad_file_is_refused_in_one_line)),
        ):
            file = folder() / "mine.yaml"
            file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
            # some odd ones are recipes
            with contextlib.suppress(GlossaeError):
                load_recipe(file)
                continue
            yield Case(["run", str(file), "--out", str(file.parent / "out")], ".yaml")
        for _, kind, file in hostile.corpus(folder(), good / "sae", good / "set.safetensors", tiny_model):
            if kind == "recipe":
                yield Case(["run", str(file), "--out", str(folder() / "out")], "mine.yaml")

    refused("recipes", cases(), 100)


def test_servers_of_texts(folder, refused, opus, monkeypatch, tmp_path):
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))
    plain = {name: value for name, value in vars(opus).items() if not name.startswith("_")}

    def cases():
        def asked(source="opus:Tiny"):
            return Case(find(folder(), f"'{source}'"), "")

        def anew(**changes):
            shutil.rmtree(tmp_path / "cache")
            (tmp_path / "cache").mkdir()
            vars(opus).update(plain | {"files": {}, "catalogue": [], "answers": [], "stops": []} | changes)

        for name in given(test_opus.test_names_that_are_none):
            anew()
            yield asked(f"opus:{name}")
        for source, listed, _ in given(test_opus.test_why_there_is_no_archive):
            anew()
            for row in listed:
                opus.list(*row)
            yield asked(f"opus:{source}")
        for status in (
            *given(test_opus.test_trouble_that_passes_or_stays),
            *given(test_opus.test_refusals_are_final),
        ):
            anew(answers=[status] * 4)
            yield asked()
        for content, _ in (
            *given(test_opus.test_something_that_is_no_archive_of_the_corpus),
            *given(test_opus.test_archives_that_are_no_good),
        ):
            anew()
            opus.put(content)
            yield asked()
        for lie, _ in given(test_opus.test_a_size_that_is_a_lie):
            anew(lie=lie)
            opus.put(test_opus.ARCHIVE)
            yield asked()
        anew(stops=[50_000, 20_000, 0, 10_000])
        opus.put(test_opus.ARCHIVE)
        yield asked()
        anew(page=test_opus.PAGE)
        yield asked()
        for target in (*given(test_opus.test_a_redirection_out_of_the_web), opus.address):
            anew(redirect=target)
            yield asked()
        with monkeypatch.context() as patch:
            patch.setenv("GLOSSAE_OPUS_API", f"{opus.address}/catalogue")
            for answer in (b"[]", b"{", b'{"corpora": 3}', b"<html>", b"[" * 100_000):
                anew(files={"/catalogue/": answer})
                yield asked()
        for base in given(test_opus.test_addresses_that_are_none):
            anew()
            with monkeypatch.context() as patch:
                patch.setenv("GLOSSAE_OPUS_BASE", base)
                yield asked()

    # an archive that has come whole is kept, whatever the texts in it are
    refused("servers: OPUS", cases(), 50, whole=("da-en.txt.zip", "da-en.txt.zip.json"))


def test_servers_of_labels(folder, refused, run, server, monkeypatch):  # noqa: F811
    monkeypatch.setenv("OPENAI_API_KEY", test_cli_explain.KEY)

    def cases():
        def asked(url=server.url):
            place = folder()
            shutil.copytree(run, place / "run")
            return Case(["explain", str(place / "run"), "--endpoint", url, "--model", "m"], "")

        for answer, _ in given(test_cli_explain.test_what_a_server_does_wrong_is_one_line_and_loses_nothing):
            server.says = lambda *_, answer=answer: answer
            yield asked()
        for url, _ in given(test_cli_explain.test_an_endpoint_that_cannot_be):
            yield asked(url)

    # the pages show the labels that there are
    refused("servers: labels", cases(), 20, whole=(".html", "page.json"))


def test_servers_of_models(folder, good, refused, tiny_model, tmp_path, monkeypatch):
    hub = LoopbackHub()
    home = tmp_path / "hub"
    home.mkdir()
    # as tests/hub/hub_client.py; the waits between its tries are the hub's client's own
    for name in FORGET:
        monkeypatch.delenv(name, raising=False)
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": home,
        "HF_HUB_DISABLE_TELEMETRY": 1,
    }
    for name, value in {**settings, "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    child = Child(tmp_path / "said")
    model_files = {file.name: file.read_bytes() for file in tiny_model.iterdir()}
    numbers = itertools.count()

    def cases():
        def model(files, **changes):
            name = f"org/case-{next(numbers)}"
            hub.add(name, files)
            vars(hub.repo(name)).update(changes)
            return Case(find(folder(), good / "text.tsv", name), name)

        def data_set(files, settings="", **changes):
            name = f"org/case-{next(numbers)}"
            hub.add(name, files, kind="datasets")
            vars(hub.repo(name, "datasets")).update(changes)
            return Case(find(folder(), f"hub:{name}{settings}"), name)

        yield Case(find(folder(), good / "text.tsv", "org/nothing"), "org/nothing")
        for answer, *_ in given(test_hub_models.test_refusals):
            yield model(model_files, refuse=answer)
        for lies in given(test_hub_models.test_names_of_files_that_a_mirror_makes_up_are_refused):
            yield model(model_files, lies=lies)
        for spoil, _ in given(test_hub_models.test_models_that_cannot_be_used):
            yield model(spoil(model_files))
        for endless in ("lists", "files"):
            yield model(test_hub_models.without(model_files, "tokenizer"), endless=endless)
        yield model(model_files, breaks=1000)
        yield model(model_files, spoil=lambda data: bytes([data[0] ^ 1]) + data[1:])
        rows = test_hub_data_sets.jsonl(da=test_hub_data_sets.DA)
        for answer, *_ in given(test_hub_data_sets.test_refusals):
            yield data_set({"train.jsonl": rows}, refuse=answer)
        for columns, settings, _ in given(test_hub_data_sets.test_columns_that_are_not_there):
            yield data_set({"train.jsonl": test_hub_data_sets.jsonl(**columns)}, settings)
        for files_ in given(test_hub_data_sets.test_files_that_are_broken):
            yield data_set(files_ | {".gitattributes": ""})

    try:
        refused("servers: hub", cases(), 40, child)
    finally:
        child.close()
        hub.down()


def test_processes_of_their_own(folder, good, tiny_model, tmp_path, capfd):
    """An input of each kind but servers, with the imports."""
    place = folder()
    (place / "mine.yaml").write_text("base: demo\nsae: {kk: 1}\n")
    for name in ("memory.tmx", "rows.jsonl", "knob.safetensors"):
        (place / name).write_bytes(b"<tmx><")
    shutil.copytree(tiny_model, place / "model")
    (place / "model" / "config.json").write_text("{")
    text = good / "text.tsv"
    lines = {
        "text": find(place, place / "memory.tmx"),
        "task": find(place, text, tasks__names=f"mood:da={place / 'rows.jsonl'}"),
        "model": find(place, text, place / "model"),
        "autoencoder": find(place, text, tiny_model, sae__from=place / "model", layer=1),
        "knob": ["knob", "apply", str(place / "knob.safetensors"), "--model", "toy", "--prompt", "x"],
        "recipe": ["run", str(place / "mine.yaml")],
    }
    for kind, line in lines.items():
        child = Child(tmp_path / "said")
        made = outcome(tmp_path, child, line)
        child.close()
        with capfd.disabled():
            print(
                f"\nalone: {kind:12} {made.seconds:.1f} s, {made.spent:.1f} s of the processor, "
                f"{made.peak / 1e6:.0f} MB",
                flush=True,
            )
        # how long the imports take is the machine's
        right = checks(Case(line, str(place)), made._replace(spent=0.0))
        assert all(right.values()), (right, made)
