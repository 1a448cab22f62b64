"""What the app computes, against the model's own passes; and the lines of `glossae app` that are refused."""

import itertools
import json
import re
import shutil
import sys
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import glossae
from glossae.app.workbench import NextToken, Workbench
from glossae.cli import main
from glossae.run.knobs import knob_of_run
from glossae.sae import read_sae

TEXT = "Hunden så æblet på øen"


@pytest.fixture(scope="module")
def bench(steered):
    return Workbench(steered)


@pytest.fixture(scope="module")
def kinds(bench):
    """A unit of each kind."""
    return [
        next(key for key, unit in bench.units.items() if unit.kind == kind) for kind in ("latent", "neuron")
    ] + ["difference-of-means"]


def states(bench, text):
    """The site's activations of a text, by the model alone, with the token ids."""
    ids = bench.lm.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        hidden = bench.lm.model(ids, output_hidden_states=True).hidden_states
    return hidden[bench.site.layer + 1][0], ids


def probabilities(bench, prompt):
    with torch.no_grad():
        return (
            bench.lm.model(bench.lm.tokenizer(prompt, return_tensors="pt")["input_ids"])
            .logits[0, -1]
            .softmax(-1)
        )


def test_the_selected_units_come_first_then_the_nearest_then_those_of_steering(bench, steered):
    features = glossae.open_run(steered).results.features
    latents = [key for key, unit in bench.units.items() if unit.kind == "latent"]
    assert bench.selected == ("latent-3", "latent-7")
    assert latents == list(
        dict.fromkeys(f"latent-{row.unit}" for row in (*features.units, *features.nearest))
    )
    others = [key for key in bench.units if key not in latents]
    knob = knob_of_run(steered, "neuron", "add", dose=1, whole=False)
    assert others == [*(name.replace(" ", "-") for name in knob.names), "difference-of-means"]


def test_the_means_of_latents_are_those_of_the_run(bench, steered):
    stored = json.loads((steered / "features" / "ranges.json").read_text())
    for unit in (3, 7):
        offered = bench.units[f"latent-{unit}"]
        assert offered.low == pytest.approx(stored["reference_means"][str(unit)], abs=1e-6)
        assert offered.high == pytest.approx(stored["target_means"][str(unit)], abs=1e-6)


def test_tokens_have_the_value_of_units_of_every_kind(bench, steered, kinds):
    tokens = bench.colour(TEXT, kinds)
    assert "".join(token.text for token in tokens) == TEXT
    x, _ = states(bench, TEXT)
    dense = torch.zeros(len(x), 64)
    codes = read_sae(steered).encode(x)
    dense.scatter_(1, codes.indices, codes.values)
    means = load_file(steered / "steering" / "knobs" / "means_add.safetensors")
    expected = {
        kinds[0]: dense[:, bench.units[kinds[0]].unit],
        kinds[1]: x[:, bench.units[kinds[1]].unit],
        kinds[2]: x.double() @ means["directions"][0] - means["offsets"][0],
    }
    for key, values in expected.items():
        assert [token.values[key] for token in tokens] == pytest.approx(values.tolist(), abs=1e-4)
    assert len({round(token.values[kinds[1]], 4) for token in tokens}) > 1


def test_colours_go_from_the_references_mean_or_no_firing_to_the_whole(bench, kinds):
    latent, neuron, means = (bench.units[key] for key in kinds)
    assert (latent.share(0.0), latent.share(-1.0), latent.share(2 * latent.full)) == (0.0, 0.0, 1.0)
    assert neuron.share(neuron.low) == 0.0
    assert neuron.share(neuron.high) == pytest.approx(0.5)
    # the direction's values have its offset taken off: halfway between the languages' means is 0
    assert means.share(0.0) == pytest.approx(0.25)


def test_a_text_is_cut_where_the_run_cuts_its_own(bench, kinds):
    assert len(bench.colour(TEXT * 40, kinds)) == bench.longest == 64
    assert bench.colour("  ", kinds) == []
    assert len(bench.colour("a", kinds)) == 1


def test_next_tokens_are_those_of_the_model_as_it_is_and_turned(bench, kinds):
    found = bench.next_tokens("The dog", kinds, 3.0)
    raw = probabilities(bench, "The dog")
    with bench.knob(kinds, 3.0).on(bench.lm.model):
        turned = probabilities(bench, "The dog")
    best = torch.maximum(raw, turned).topk(10).indices
    assert [token.text for token in found] == [bench.lm.tokenizer.decode([int(i)]) for i in best]
    assert [token.raw for token in found] == pytest.approx(raw[best].tolist(), abs=1e-5)
    assert [token.turned for token in found] == pytest.approx(turned[best].tolist(), abs=1e-5)
    assert max(abs(token.raw - token.turned) for token in found) > 1e-3
    assert all(token.raw == pytest.approx(token.turned) for token in bench.next_tokens("The dog", kinds, 0.0))
    assert all(token.raw == token.turned for token in bench.next_tokens("The dog", [], 3.0))


def test_losses_are_means_over_the_tokens_of_each_text(bench, kinds):
    texts = {"da": TEXT, "en": "The dog saw the apple on the isle"}

    def loss(text):
        _, ids = states(bench, text)
        with torch.no_grad():
            return float(bench.lm.model(ids, labels=ids).loss)

    found = bench.losses(texts, kinds, 3.0)
    assert list(found) == ["da", "en"]
    for language, text in texts.items():
        assert found[language].raw == pytest.approx(loss(text), abs=1e-4)
        with bench.knob(kinds, 3.0).on(bench.lm.model):
            assert found[language].turned == pytest.approx(loss(text), abs=1e-4)
    # nothing to predict
    assert list(bench.losses({"da": " ", "en": texts["en"]}, kinds, 3.0)) == ["en"]


def test_units_of_several_kinds_add_up_and_are_saved_as_one_knob(bench, kinds, tmp_path):
    expected = sum(
        2.5 * (unit.high - unit.low) * unit.units.direction([unit.unit])[0].double()
        for unit in (bench.units[key] for key in kinds)
    )
    saved = glossae.Knob.load(bench.knob(kinds, 2.5).save(tmp_path / "knob.safetensors"))
    assert (saved.dose, saved.target, saved.reference) == (2.5, "da", "en")
    for knob in (bench.knob(kinds, 2.5), saved):
        (change,) = knob.family.compiled([knob.dose])
        assert change(torch.zeros(1, 32))[0].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert saved.names == [bench.units[key].name for key in kinds]
    with pytest.raises(glossae.GlossaeError, match="knob: dose: 1e.308 is too large"):
        bench.knob(kinds, 1e308)
    assert [bench.knob([key], 1).kind for key in kinds] == ["latent", "neuron", "direction"]


def test_continuations_grow_by_token_and_are_the_models_own(bench, kinds):
    came = {"raw": [], "turned": []}
    for side, text in bench.continue_("The dog", kinds, 6.0, new_tokens=8):
        came[side].append(text)
    raw = bench.lm.write("The dog", new_tokens=8)
    with bench.knob(kinds, 6.0).on(bench.lm):
        turned = bench.lm.write("The dog", new_tokens=8)
    assert (came["raw"][-1], came["turned"][-1]) == (raw.rstrip("�"), turned.rstrip("�"))
    assert raw != turned
    for texts in came.values():
        assert len(texts) == 8
        assert all(later.startswith(text) for text, later in itertools.pairwise(texts))


def test_a_closed_continuation_stops_the_model(bench, kinds, count_hooks):
    passes = []

    def slow(*_):
        passes.append(1)
        time.sleep(0.05)

    before = count_hooks(bench.lm.model)
    handle = bench.lm.model.register_forward_pre_hook(slow)
    try:
        pieces = bench.continue_("The dog", kinds, 6.0, new_tokens=50)
        next(pieces)
        pieces.close()
        for thread in threading.enumerate():
            if thread.name == "glossae-continuation":
                thread.join()
    finally:
        handle.remove()
    assert len(passes) < 10
    assert count_hooks(bench.lm.model) == before


def test_an_error_of_the_model_reaches_the_caller(bench, kinds):
    def fail(*_):
        raise RuntimeError("the device is gone")

    handle = bench.lm.model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="the device is gone"):
            list(bench.continue_("The dog", kinds, 6.0))
    finally:
        handle.remove()


def test_two_people_at_once_do_not_mix(bench, kinds):
    alone = {dose: bench.losses({"da": TEXT}, kinds, dose)["da"] for dose in (0.0, 7.0)}
    written = [text for _, text in bench.continue_("The dog", kinds, 7.0, new_tokens=10)]
    mixed = []

    def person(dose):
        for _ in range(15):
            found = bench.losses({"da": TEXT}, kinds, dose)["da"]
            if not np.allclose(found, alone[dose], atol=1e-6):
                mixed.append((dose, found))

    threads = [threading.Thread(target=person, args=(dose,)) for dose in alone]
    for thread in threads:
        thread.start()
    again = [text for _, text in bench.continue_("The dog", kinds, 7.0, new_tokens=10)]
    for thread in threads:
        thread.join()
    assert mixed == []
    assert again == written


@pytest.mark.parametrize(
    ("prompt", "keys", "words"),
    [
        ("The dog", ["latent-999"], "unit: there is no 'latent-999' here; there are latent-3, "),
        (" ", ["latent-3"], "prompt: is empty"),
        (TEXT * 40, ["latent-3"], "tokens, and 63 are the most"),
    ],
)
def test_what_cannot_be_continued_is_refused(bench, prompt, keys, words):
    for work in (bench.next_tokens, lambda *given: list(bench.continue_(*given))):
        with pytest.raises(glossae.GlossaeError) as refused:
            work(prompt, keys, 1.0)
        assert words in str(refused.value)


def test_a_bug_is_one_line_on_the_page_and_one_in_the_terminal(bench, monkeypatch, capsys, tmp_path):
    from glossae.app.page import build

    def fail(*_):
        raise ZeroDivisionError("in a <b>handler</b>")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Workbench, "losses", fail)
    (losses,) = [block for block in build(bench).blocks.values() if getattr(block, "elem_id", "") == "losses"]
    assert losses.value == (
        "<p role=alert>a bug of glossae (ZeroDivisionError): the terminal of the app says more</p>"
    )
    said = capsys.readouterr().err
    assert said.startswith(
        "glossae: a bug of glossae (ZeroDivisionError: in a <b>handler</b>); the traceback is in "
    )
    assert said.count("\n") == 1
    (log,) = tmp_path.glob("*.log")
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_fields_that_are_empty_are_read_as_no_text_no_unit_and_no_dose(bench):
    from glossae.app.page import build

    handlers = {each.fn.__name__: each.fn for each in build(bench).fns.values() if each.fn is not None}
    assert handlers["colours"](None, None, None, None) == ('<p class="quiet">No text.</p>',) * 2
    losses, likely = handlers["effects"](None, "The dog", None, None, None)
    assert "role=alert" not in losses
    assert likely == "<p role=alert>prompt: is empty; type the beginning of a text</p>"
    assert "role=alert" not in handlers["places"](None, None)
    assert (
        "there is no &#x27;nothing&#x27; here"
        in handlers["places"](["nothing"], 1.0) + handlers["colours"]("Hej", "", ["nothing"], None)[0]
    )


def test_a_token_that_is_a_space_or_a_line_break_is_seen():
    from glossae.app.page import next_tokens_table

    table = next_tokens_table([NextToken(text, 0.5, 0.5) for text in (" ", "\n", " he", "<")])
    assert re.findall("<code>(.*?)</code>", table) == ["␣", "↵", "␣he", "&lt;"]


def refusal(capsys, *line):
    capsys.readouterr()
    assert main([*map(str, line)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.removeprefix("glossae: ").rstrip("\n")


def test_lines_that_cannot_be_are_refused(steered, tmp_path, capsys, monkeypatch):
    assert refusal(capsys, "app").startswith("app: RUN is missing: the folder of a run")
    assert refusal(capsys, "app", steered, "--port", "0") == "--port: must be at least 1, got '0'"
    assert refusal(capsys, "app", steered, "--port", "99999") == "--port: must be at most 65535, got '99999'"
    # an address for documentation, which is no machine's
    told = refusal(capsys, "app", steered, "--host", "192.0.2.1")
    assert told.startswith("app: cannot be served at 192.0.2.1, port from 7860 (")
    early = shutil.copytree(steered, tmp_path / "early")
    record = json.loads((early / "run.json").read_text())
    del record["stages"]["features"]
    (early / "run.json").write_text(json.dumps(record))
    with pytest.raises(glossae.GlossaeError, match="the stage 'features' is not done in this run"):
        Workbench(early)
    monkeypatch.setitem(sys.modules, "gradio", None)
    told = refusal(capsys, "app", steered)
    assert told.startswith("app: needs gradio (")
    assert "pip install 'glossae[app]'" in told
