"""`glossae explain` against a server of the test's own: labels, scores, and every way that a server can fail."""

import asyncio
import json
import re
import socket
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from glossae.cli import main
from glossae.recipe import load_recipe
from glossae.results import (
    LanguageDensity,
    ShownUnit,
    StageResults,
    UnitContext,
    UnitDashboard,
    UnitInterval,
    UnitLabel,
    ValueHistogram,
)
from glossae.run.folder import RunFolder
from glossae.units import labels
from recorded import record

KEY = "sk-secret-0123456789"


def context(words, value, language="da"):
    """A sentence on whose second token the unit has a value."""
    values = [0.0] * len(words)
    values[1] = value
    ids = [zlib.crc32(word.encode()) for word in words]
    return UnitContext(
        language=language, source="t", tokens=words, ids=ids, values=values, peak=1, cut=(False, False)
    )


def dashboard(number):
    """A unit that fires on `hund`."""
    best = [context([f"Nr {n}", " hund", " løb"], 9.0 - n / 10) for n in range(10)]
    held = [context([f"Se {n}", " hund", "!"], 1.0 + n) for n in range(8)]
    silent = [context([f"No {n}", " dog", " ran"], 0.0, "en") for n in range(9)]
    return UnitDashboard(
        kind="latent",
        unit=number,
        label=f"latent {number}",
        site="resid",
        layer=1,
        target="da",
        reference="en",
        selected=True,
        threshold=0.0,
        density={
            code: LanguageDensity(tokens=30, sentences=10, rate=0.1, mean=0.5, mean_active=5.0, largest=9.0)
            for code in ("da", "en")
        },
        contexts={"da": best, "en": []},
        # one of them the labeller has seen
        intervals=[UnitInterval(low=0.0, high=9.0, sentences=18, contexts=[best[0], *held])],
        silent=silent,
        histogram=ValueHistogram(edges=[], counts={"da": [], "en": []}),
        logits=None,
        no_logits="none here",
        nearest=[],
        tests=None,
        partners=[],
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with the dashboards of three units, as the stage leaves them."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    folder = tmp_path / "run"
    (folder / "dashboards").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(load_recipe("demo").to_yaml(), encoding="utf-8")
    rows = []
    for number in (3, 5, 8):
        path = folder / "dashboards" / f"latent-{number}.json"
        path.write_text(json.dumps(dashboard(number).to_json()), encoding="utf-8")
        rows.append(ShownUnit(kind="latent", unit=number, tokens=60))
    found = StageResults(dashboards=rows)
    RunFolder(folder).finish("dashboards", "of this test", found, {})
    whole = found.to_json() | {
        "recipe": "demo", "protocol": "controlled", "model": "toy", "seed": 0, "schema_version": 3
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(whole), encoding="utf-8")
    record(folder)
    return folder


class Server:
    """Answers chat completions: `says` is given the messages and returns a text, or (status, body)."""

    def __init__(self):
        self.asked, self.headers = [], []
        self.says = honest
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(asked)
                outer.headers.append((self.path, self.headers.get("Authorization")))
                said = outer.says(asked["messages"], len(outer.asked))
                status, body = said if isinstance(said, tuple) else (200, completion(said))
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if status in (302, 307):
                    self.send_header("Location", f"http://localhost:{outer.port}/elsewhere")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def completion(text, **more):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text} | more}]})


def is_judge(messages):
    return "numbered sentences" in messages[0]["content"]


def honest(messages, _number):
    """Labels well, and judges by the word."""
    if not is_judge(messages):
        return 'Sure! ```json\n{"label": "the Danish word hund"}\n```'
    lines = re.findall(r"^(\d+)\. (.*)$", messages[1]["content"], re.MULTILINE)
    return json.dumps({"fires": [int(number) for number, text in lines if "hund" in text]})


@pytest.fixture
def server():
    started = Server()
    yield started
    started.close()


def command(run, server, capsys, status=0):
    code = main(["explain", str(run), "--endpoint", server.url, "--model", "judge-1"])
    captured = capsys.readouterr()
    assert code == status, captured.err
    if status:
        (line,) = captured.err.splitlines()
        assert KEY not in line + captured.out
        return line
    assert captured.err == ""
    return captured.out


def label(run, number):
    return UnitLabel.model_validate_json((run / "labels" / f"latent-{number}.json").read_bytes())


def test_labels_are_scored_on_sentences_that_the_labeller_did_not_see(run, server, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = command(run, server, capsys)
    assert "latent 3: the Danish word hund (balanced accuracy 1.00, 1.00 to 1.00, on 16 sentences)" in said
    found = label(run, 3)
    assert (found.label, found.model) == ("the Danish word hund", "judge-1")
    assert (found.firing, found.silent, found.balanced_accuracy) == (8, 8, 1.0)
    labelling, *judging = [asked["messages"][1]["content"] for asked in server.asked[:3]]
    assert "Nr 0<< hund>> løb" in labelling
    assert "Se 0" not in labelling
    judged = "\n".join(judging)
    assert "Nr" not in judged
    assert "<<" not in judged
    assert len(re.findall(r"^\d+\. Se \d hund!$", judged, re.MULTILINE)) == 8
    assert len(re.findall(r"^\d+\. No \d dog ran$", judged, re.MULTILINE)) == 8
    assert set(server.headers) == {("/v1/chat/completions", f"Bearer {KEY}")}
    for path in run.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_the_pages_show_them_and_say_whose_they_are(run, server, capsys):
    server.says = lambda messages, number: (
        honest(messages, number)
        if is_judge(messages)
        else json.dumps({"label": '<script>x()</script>\n\u202eEvil\x1b[31m "' + "a" * 300})
    )
    command(run, server, capsys)
    for name in ("latent-3.html", "index.html"):
        page = (run / "units" / name).read_text(encoding="utf-8")
        assert "&lt;script&gt;x()&lt;/script&gt; Evil [31m" in page
        assert "<script>x" not in page
        assert not {"\u202e", "\x1b"} & set(page)
        assert "label by judge-1, not evidence; balanced accuracy 1.00 (1.00 to 1.00) on 16 sentences" in page
    assert len(label(run, 3).label) <= 160


def test_a_judge_that_guesses_scores_as_chance_does(run, server, capsys):
    server.says = lambda messages, number: (
        '{"fires": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}' if is_judge(messages) else honest(messages, number)
    )
    command(run, server, capsys)
    found = label(run, 5)
    assert (found.balanced_accuracy, found.low, found.high) == (0.5, 0.5, 0.5)


def test_labels_that_are_there_are_kept_and_those_of_another_run_are_not_shown(run, server, capsys):
    command(run, server, capsys)
    before = len(server.asked)
    command(run, server, capsys)
    assert len(server.asked) == before
    # the unit of this number is another one now
    path = run / "dashboards" / "latent-3.json"
    other = json.loads(path.read_text(encoding="utf-8")) | {"layer": 2}
    path.write_text(json.dumps(other), encoding="utf-8")
    record(run)
    server.says = lambda *_: (500, "")
    assert "--endpoint: answered 500" in command(run, server, capsys, 2)
    assert "not evidence" not in (run / "units" / "latent-3.html").read_text(encoding="utf-8")
    assert "not evidence" in (run / "units" / "latent-5.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((401, f"Incorrect API key provided: {KEY}"), r"--endpoint: answered 401: Incorrect .* \*\*\*"),
        ((404, "<html>\n\x1b[1mnot here"), "answered 404: <html> \\[1mnot here"),
        ((307, ""), "answered 307"),
        ((200, "not json"), "latent 5 \\(the answer is no chat completion\\)"),
        ((200, "[" * 200_000), "latent 5 \\(the answer is no chat completion\\)"),
        ((200, completion("x" * 1_000_000)), "--endpoint: an answer of more than 1,000,000 bytes"),
        ((200, '{"choices": []}'), "latent 5 \\(the answer is no chat completion\\)"),
        ((200, completion(None)), "latent 5 \\(the answer has no text\\)"),
        ((200, completion(None, refusal="I can't.")), "latent 5 \\(the model refused\\)"),
        ("I would rather not.", "latent 5 \\(the answer is no JSON object\\)"),
        ("{" * 900_000, "latent 5 \\(the answer is no JSON object\\)"),
        ("} {", "latent 5 \\(the answer is no JSON object\\)"),
        ('{"label": "\\u202e\\n"}', "latent 5 \\(the answer has no label\\)"),
        ('{"labels": 3}', "latent 5 \\(the answer has no label\\)"),
    ],
)
def test_what_a_server_does_wrong_is_one_line_and_loses_nothing(
    run, server, capsys, monkeypatch, answer, expected
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    # of the second unit, whose label is the fourth thing that is asked for
    server.says = lambda messages, number: answer if number == 4 else honest(messages, number)
    line = command(run, server, capsys, 2)
    assert re.search(expected, line), line
    assert label(run, 3).balanced_accuracy == 1.0
    assert not (run / "labels" / "latent-5.json").exists()
    # an error of one unit does not keep the others from theirs; one of the server does
    assert (run / "labels" / "latent-8.json").exists() == ("latent 5" in line)
    assert "not evidence" in (run / "units" / "latent-3.html").read_text(encoding="utf-8")
    server.says = honest
    assert "latent 5: the Danish word hund" in command(run, server, capsys)


@pytest.mark.parametrize("fires", ['"all"', "[true, false]", "[1, true]", "[1.0]"])
def test_a_judge_that_makes_no_sense_leaves_no_label(run, server, capsys, fires):
    server.says = lambda messages, number: (
        f'{{"fires": {fires}}}' if is_judge(messages) else honest(messages, number)
    )
    assert "3 of 3 units got no label: latent 3 (the answer has no list of sentences)" in command(
        run, server, capsys, 2
    )
    assert not (run / "labels").exists()


def test_a_server_that_takes_too_long(run, server, capsys, monkeypatch):
    monkeypatch.setattr(labels, "PATIENCE", 1.0)

    def slow(messages, number):
        time.sleep(1.6 if number == 4 else 0)
        return honest(messages, number)

    server.says = slow
    assert "--endpoint: no answer within 1 seconds" in command(run, server, capsys, 2)
    assert label(run, 3)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("localhost:8000", "is no URL"),
        ("ftp://localhost/v1", "is no URL"),
        ("http://me:pass@localhost:1/v1", "in the environment variable OPENAI_API_KEY"),
        ("http://[::1", "is no URL"),
        ("http://localhost:1/v1?x=y#f", "leave out what follows the #"),
        ("http://localhost:99999/v1", "is no URL"),
        ("http://example.org/v1", "would send OPENAI_API_KEY in the clear"),
        ("http://127.0.0.1.evil.example/v1", "would send OPENAI_API_KEY in the clear"),
        ("http://localhost.evil.example/v1", "would send OPENAI_API_KEY in the clear"),
        ("http://127.0.0.1:9/v1", "--endpoint: cannot be reached"),
    ],
)
def test_an_endpoint_that_cannot_be(run, capsys, monkeypatch, endpoint, expected):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert main(["explain", str(run), "--endpoint", endpoint, "--model", "m"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert KEY not in line
    assert "pass@" not in line


def test_a_server_that_drips(run, capsys, monkeypatch):
    monkeypatch.setattr(labels, "PATIENCE", 0.5)
    ended = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def drip():
        taken, _ = listening.accept()
        with taken:
            taken.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not ended.wait(0.05):
                try:
                    taken.sendall(b"x")
                except OSError:
                    break

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    before = time.monotonic()
    code = main(["explain", str(run), "--endpoint", url, "--model", "m"])
    passed = time.monotonic() - before
    ended.set()
    thread.join()
    listening.close()
    assert code == 2
    assert "--endpoint: no answer within 0.5 seconds" in capsys.readouterr().err
    assert passed < 10


def test_an_endpoint_is_asked_also_where_a_loop_runs(server, run):
    async def ask():
        return labels.Endpoint(server.url, "m").ask([{"role": "user", "content": "who?"}])

    server.says = lambda *_: "me"
    assert asyncio.run(ask()) == "me"


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat/completions", "/v1/chat/completions/"])
def test_the_path_stands_before_a_query(server, path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server.says = lambda *_: "me"
    url = f"http://127.0.0.1:{server.port}{path}?api-version=2024-10-21"
    assert labels.Endpoint(url, "m").ask([{"role": "user", "content": "who?"}]) == "me"
    assert server.headers == [("/v1/chat/completions?api-version=2024-10-21", None)]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(server, run, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.says = lambda *_: "me"
    assert labels.Endpoint(server.url, "m").ask([{"role": "user", "content": "who?"}]) == "me"


@pytest.mark.parametrize("key", [f"{KEY}\nX-More: 1", f"{KEY}\r{KEY}", f"{KEY}\u00e9", f"{KEY}\x7f"])
def test_a_key_that_is_none_is_not_shown(run, server, capsys, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert "OPENAI_API_KEY: holds control or non-ASCII characters" in command(run, server, capsys, 2)
    assert server.asked == []


def test_a_key_is_stripped_and_masked_in_labels(run, server, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\r\n")
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    server.says = lambda messages, number: (
        honest(messages, number) if is_judge(messages) else f'{{"label": "hund {escaped}"}}'
    )
    assert "latent 3: hund *** (" in command(run, server, capsys)
    assert {sent for _, sent in server.headers} == {f"Bearer {KEY}"}
    assert label(run, 3).label == "hund ***"


def test_too_few_sentences_are_a_note(run, server, capsys):
    path = run / "dashboards" / "latent-5.json"
    unit = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(unit | {"silent": unit["silent"][:3]}), encoding="utf-8")
    record(run)
    said = command(run, server, capsys)
    assert "latent 5: no label: too few sentences\n" in said
    assert "latent 8: the Danish word hund" in said
    assert not (run / "labels" / "latent-5.json").exists()


def test_a_label_that_is_another_units_or_acts_on_a_terminal(run, server, capsys):
    command(run, server, capsys)
    path = run / "labels" / "latent-3.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(held | {"label": "a\x1b[31m\nb\u202ec"}), encoding="utf-8")
    assert "latent 3: a\\x1b[31m b\\u202ec (" in command(run, server, capsys)
    for other in ({"unit": 4}, {"kind": "neuron"}):
        path.write_text(json.dumps(held | other), encoding="utf-8")
        assert "latent-3.json: holds the label of another unit" in command(run, server, capsys, 2)


def test_a_folder_that_has_no_dashboards(tmp_path, capsys):
    assert main(["explain", str(tmp_path), "--endpoint", "http://localhost:1", "--model", "m"]) == 2
    assert "is not a run" in capsys.readouterr().err
