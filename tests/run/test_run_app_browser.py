"""The app in a real browser, served as `glossae app` serves it; and what its server answers."""

import contextlib
import gc
import html
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

import glossae
from glossae import app
from glossae.app.workbench import Workbench
from glossae.cli import main
from glossae.stages import stage_of

pytest.importorskip("gradio", reason="needs gradio, the extra app")
# Gradio makes event loops that it never closes; `_collected` has them collected here
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    # pandas deprecates what Gradio still calls
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]

CHROMIUM = Path("/usr/bin/chromium")
DOCS = Path(__file__).parents[2] / "docs" / "app.md"
# a run of the toy that is long enough for latents of Danish, and no longer
SMALL = """
    --languages.others none --dtype float32 --probe.seeds 1 --probe.tokens 1000 --probe.lambdas 0.1
    --corpora.limit 400 --corpora.panel_limit 12 --corpora.test_limit 40
    --evidence.permutations 0 --evidence.scores false --evidence.identify false --report.texts 2
    --until features --quiet
"""
DANISH, ENGLISH = "Der var mange biler på gaden i går.", "There were many cars in the street yesterday."
HOSTILE = "<script>alert(1)</script> {{value}} ${1+1} \u202eabc"


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    """The folder of a small run of the toy, with a page of one unit; not to be written to."""
    out = tmp_path_factory.mktemp("toy") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_of("report"), "run", lambda *_: {})
        assert main(["run", "demo", "--out", str(out), *SMALL.split()]) == 0
    pages = out / "units"
    pages.mkdir(exist_ok=True)
    for page in (out / "report.html", pages / "index.html"):
        page.write_text(f"<!doctype html><title>{page.stem}</title><p>every unit")
    (pages / "link.html").symlink_to(out / "results.json")
    return out


@pytest.fixture(scope="module")
def served(toy_run):
    """The page, as it is served."""
    page = app.launch(toy_run, wait=False)
    yield page
    page.close(verbose=False)


@pytest.fixture(scope="module")
def address(served):
    return served.local_url


@pytest.fixture(autouse=True, scope="module")
def _collected():
    yield
    gc.collect()


def answer(address, path):
    """The status and the content of an answer."""
    return fetched(f"{address}{path}")


def fetched(request):
    try:
        with urllib.request.urlopen(request, timeout=30) as found:
            return found.status, found.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


# ---- what the server answers


def test_it_answers_this_machine_only_unless_told_otherwise(served, address):
    assert served.server_name == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    assert served.share_url is None
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_of_the_run_only_the_report_and_the_pages_of_units_are_served(address, toy_run):
    assert answer(address, "report.html") == (200, (toy_run / "report.html").read_bytes())
    assert answer(address, "units/index.html") == (200, (toy_run / "units" / "index.html").read_bytes())
    for path in (
        "units/link.html", "units/../results.json", "units/%2e%2e/results.json", "results.json",
        f"gradio_api/file={quote(str(toy_run / 'results.json'))}",
    ):  # fmt: skip
        status, content = answer(address, path)
        assert status in (403, 404), path
        assert b'"features"' not in content


def test_a_knob_is_made_on_request(address, toy_run, tmp_path):
    key = Workbench(toy_run).selected[0]
    status, content = answer(address, f"knob.safetensors?units={key}&dose=2.5")
    assert status == 200
    (tmp_path / "knob.safetensors").write_bytes(content)
    knob = glossae.Knob.load(tmp_path / "knob.safetensors")
    assert (knob.names, knob.dose) == ([key.replace("-", " ")], 2.5)
    for query, words in (
        ("units=latent-9999&dose=1", b"unit: there is no 'latent-9999' here"),
        ("units=&dose=1", b"knob: choose at least one unit"),
        (f"units={key}&dose=inf", b"dose: must be a finite number"),
        (f"units={key}&dose=x", b"could not convert"),
    ):
        status, content = answer(address, f"knob.safetensors?{query}")
        assert status == 400
        assert content.startswith(words)


def asked(address, path, said):
    """The status and the content of an answer to JSON."""
    request = urllib.request.Request(
        f"{address}gradio_api/{path}", json.dumps(said).encode(), {"Content-Type": "application/json"}
    )
    return fetched(request)


def called(address, name, data):
    """What a function of the page says to values that are sent past the page."""
    status, event = asked(address, f"call/{name}", {"data": data})
    assert status == 200
    return html.unescape(
        answer(address, f"gradio_api/call/{name}/{json.loads(event)['event_id']}")[1].decode()
    )


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("places", [["KEY"]], "the page asks for nothing like this"),
        ("places", [["KEY"], "<script>"], "dose: expected a number, got '<script>'"),
        ("places", [["KEY"], "4"], "dose: expected a number, got '4'"),
        ("places", [["KEY"], 1e308], "dose: has to be from -8 to 8"),
        ("places", [["KEY"], float("nan")], "dose: has to be from -8 to 8"),
        ("places", [["KEY"], None], "at dose 0 as a knob"),
        ("places", ["KEY", 1], "units: expected a list"),
        ("places", [["latent-9999"], 1], "unit: there is no 'latent-9999' here"),
        ("places", [[{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}], 1], "nothing like this"),
        ("colours", ["hej", "hi", ["KEY"], ["largest"]], "unit: there is no '['largest']' here"),
        ("colours", [{"a": 1}, "hi", ["KEY"], "largest"], "text: expected a text"),
        ("colours", ["hej \ud800", "hi", ["KEY"], "largest"], ">?<"),
        ("effects", ["\udfff", "hi", "a \ud800", ["KEY"], 1], "Probability of the next token"),
        (
            "effects",
            ["hej", "hi", "c" * 100_000, ["KEY"], 1],
            "prompt: has 5000 tokens, and 255 are the most",
        ),
        ("written", ["The dog \ud800", ["KEY"], 1], "event: complete"),
        ("written", ["The dog", ["KEY"], "4"], "dose: expected a number, got '4'"),
    ],
)
def test_values_that_the_page_cannot_hold_are_told_and_leave_the_terminal_alone(
    address, toy_run, unchecked, capfd, name, data, words
):
    key = Workbench(toy_run).selected[0]
    data = json.loads(json.dumps(data).replace("KEY", key))
    assert words in called(address, name, data).replace('\\"', '"')
    assert capfd.readouterr().err == ""


def test_requests_that_the_page_does_not_send_leave_the_terminal_alone(served, address, capfd):
    functions = [index for index, each in served.fns.items() if each.fn is None]
    assert functions
    for path, said in (
        ("call/nothing", {"data": []}),
        ("run/nothing", {"data": []}),
        ("call/v2/nothing", {"data": []}),
        ("queue/join", {"data": [], "fn_index": 99, "session_hash": "abc"}),
        ("component_server", {"session_hash": "a", "component_id": 99, "fn_name": "x", "data": None}),
    ):
        assert asked(address, path, said) == (400, b"the page asks for nothing like this")
    for index in functions:
        assert asked(address, f"run/{index}", {"data": [], "fn_index": index})[0] == 500
    assert b"Not Found" in answer(address, "gradio_api/call/nothing/none")[1]
    assert capfd.readouterr().err == ""


def test_a_machine_that_is_too_busy_for_gradios_own_check_serves_the_page(toy_run, monkeypatch):
    monkeypatch.setattr("gradio.networking.url_ok", lambda *_: False)
    page = app.launch(toy_run, wait=False)
    assert answer(page.local_url, "")[0] == 200
    page.close(verbose=False)


def test_a_port_that_is_taken_is_told_in_one_line(served, toy_run, capsys):
    assert main(["app", str(toy_run), "--port", str(served.server_port)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"glossae: app: cannot be served at 127.0.0.1, port {served.server_port} (")


def test_the_space_of_the_documentation_works(toy_run, tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    run = tmp_path / "runs" / "demo"
    # what the page says that a Space needs of a run
    for name in ("features", "sae"):
        shutil.copytree(toy_run / name, run / name)
    for name in ("recipe.yaml", "run.json"):
        shutil.copy(toy_run / name, run)
    monkeypatch.chdir(tmp_path)
    # as a Space has it
    monkeypatch.setenv("SPACE_ID", "somebody/something")
    seen = []

    def visit():
        found = re.search(r"http://\S+?:(\d+)/", capsys.readouterr().err)
        seen.append(answer(f"http://127.0.0.1:{found[1]}/", ""))
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "_interrupted", visit)
    exec(compile(block, "app.py", "exec"), {})
    ((status, content),) = seen
    assert status == 200
    assert b"glossae" in content


# ---- in the browser


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"needs Chromium at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@contextlib.contextmanager
def opened(browser, address, **options):
    """The page in a new window, once it has loaded; it may ask nobody else, and nothing may go wrong in it."""
    complaints, asked = [], []
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_function("document.querySelector('#link textarea')?.value")
    yield page
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


def typed(page, field, text):
    page.fill(f"#{field} textarea, #{field} input", text)


def value(page, field):
    return page.input_value(f"#{field} textarea, #{field} input[type=number]")


def shares(page, side, text):
    """The colours of a side's tokens once it shows a text."""
    page.wait_for_function(
        "([side, text]) => document.querySelector(`#${side}-tokens .tokens`)?.innerText === text",
        arg=[side, text],
    )
    return page.eval_on_selector_all(
        f"#{side}-tokens .tokens span", "all => all.map(one => Number(one.style.getPropertyValue('--share')))"
    )


def continued(page, bench, prompt, dose):
    """Both continuations by the model, once the page shows them."""
    expected = dict(bench.continue_(prompt, bench.selected, dose))
    page.click("#go")
    for side, text in expected.items():
        page.wait_for_function(
            "([side, text]) => document.querySelector(`#${side} textarea`).value === text", arg=[side, text]
        )
    return expected


def test_a_person_types_turns_reads_and_comes_back(browser, address, toy_run):
    bench = Workbench(toy_run)
    with opened(browser, address) as page:
        typed(page, "target", DANISH)
        typed(page, "reference", ENGLISH)
        danish, english = shares(page, "target", DANISH), shares(page, "reference", ENGLISH)
        assert len(set(danish)) > 1
        assert max(danish) > max(english)
        expected = [
            max(bench.units[key].share(v) for key, v in token.values.items())
            for token in bench.colour(DANISH, bench.selected)
        ]
        assert danish == pytest.approx(expected, abs=1e-3)
        title = page.get_attribute("#target-tokens .tokens span", "title")
        assert title.startswith(f"{bench.units[bench.selected[0]].name}: ")

        longer = " ".join([DANISH] * 4)
        count = len(bench.colour(longer, bench.selected))
        assert count >= 40
        started = time.perf_counter()
        typed(page, "target", longer)
        shares(page, "target", longer)
        print(f"{count} tokens coloured {time.perf_counter() - started:.2f} s after they were typed")
        typed(page, "target", DANISH)
        shares(page, "target", DANISH)

        prompt = "When they had eaten,"
        typed(page, "prompt", prompt)
        before = continued(page, bench, prompt, 4.0)
        page.fill("#dose input[type=number]", "-8")
        page.press("#dose input[type=number]", "Tab")
        page.wait_for_function("document.querySelector('#link textarea').value.endsWith('dose=-8')")
        after = continued(page, bench, prompt, -8.0)
        assert after["raw"] == before["raw"]
        assert after["turned"] != before["turned"]
        losses = page.inner_text("#losses")
        link = value(page, "link")
        assert page.url == link
        page.reload()
        page.wait_for_function("document.querySelector('#link textarea')?.value")
        shares(page, "target", DANISH)
        assert value(page, "dose") == "-8"
    with opened(browser, link) as page:
        assert shares(page, "target", DANISH) == danish
        assert shares(page, "reference", ENGLISH) == english
        assert [value(page, name) for name in ("target", "prompt", "dose")] == [
            DANISH, prompt, "-8",
        ]  # fmt: skip
        page.wait_for_function("text => document.querySelector('#losses').innerText === text", arg=losses)
        assert value(page, "link") == link
        with page.expect_download() as download:
            page.click("#links a[download]")
        knob = glossae.Knob.load(download.value.path())
        assert (knob.dose, knob.names) == (-8.0, [bench.units[key].name for key in bench.selected])
        assert download.value.suggested_filename.endswith(".safetensors")
        assert page.get_attribute("#links a[target]", "href") == "units/index.html"


def test_links_that_cannot_be_give_what_can_be(browser, address):
    with opened(browser, f"{address}?target=hej&units=latent-9999,x&by=nothing&dose=1e99") as page:
        shares(page, "target", "hej")
        assert value(page, "dose") == "8"
        page.wait_for_function("document.querySelector('#link textarea').value.includes('units=&by=largest')")


def test_a_dose_that_was_emptied_is_0(browser, address):
    with opened(browser, address) as page:
        page.fill("#dose input[type=number]", "")
        page.press("#dose input[type=number]", "Tab")
        page.wait_for_function("document.querySelector('#losses td:last-child').innerText === '+0.000'")
        page.wait_for_function("document.querySelector('#links').innerText.includes('at dose 0 as a knob')")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_hostile_text_is_text_nothing_scrolls_sideways_and_axe_finds_nothing(browser, address, width, scheme):
    with opened(browser, address, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        typed(page, "target", HOSTILE)
        typed(page, "prompt", HOSTILE)
        shares(page, "target", HOSTILE.replace("\u202e", "\\u202e"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.query_selector("#target-tokens script") is None
        axe = pytest.importorskip(
            "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python"
        )
        found = axe.Axe().run(page).response["violations"]
        assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []


def test_stop_ends_a_continuation(browser, toy_run, count_hooks):
    from glossae.app.page import build, serve

    bench = Workbench(toy_run)
    # as slow as a larger model, and without an end of text
    bench.lm.model.generation_config.eos_token_id = None
    passes = []

    def slow(*_):
        passes.append(time.sleep(0.1))

    served, address = serve(build(bench), bench, "127.0.0.1", None)
    handle = bench.lm.model.register_forward_pre_hook(slow)
    try:
        with opened(browser, address) as page:
            page.click("#go")
            page.wait_for_function("document.querySelector('#raw textarea').value !== ''")
            page.click("#stop")
            page.wait_for_timeout(500)
            stopped = len(passes)
            page.wait_for_timeout(800)
            assert len(passes) == stopped < 40
    finally:
        handle.remove()
        served.close(verbose=False)
    assert count_hooks(bench.lm.model) == 0
