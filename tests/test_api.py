"""The door of a notebook: the paper's idea in ten lines, and an example that runs for every public name."""

import dataclasses
import doctest
import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
import torch

import glossae as gl
from glossae import api
from glossae.errors import GlossaeError
from glossae.run import engine
from glossae.sae import SaeConfig
from toy_grammar import sentences

# less text and fewer arms than `find` has by itself
LESS = {
    "corpora.limit": "200",
    "corpora.panel_limit": "180",
    "corpora.test_limit": "12",
    "evidence.minimum": "0.7",
    "baselines.untrained": "0",
    "effects.bootstrap": "50",
    "effects.families": "none",
    "effects.tune": "false",
    "effects.prompts": "false",
}
FEWEST = LESS | {
    "corpora.limit": "60",
    "corpora.panel_limit": "120",
    "corpora.test_limit": "6",
    "sae.precision": "1",
    "evidence.minimum": "0.6",
}
DOCS = Path(__file__).parents[1] / "docs"
LM = gl.load("toy")
TWO = gl.text(da=["x"], en=["y"])
SAE = gl.Sae(SaeConfig(d_in=4, latents=8, k=2))


@pytest.fixture(scope="module")
def names():
    """What the examples of the docstrings have made, one after the other."""
    found = {"gl": gl}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    load_recipe = api.load_recipe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            api, "load_recipe", lambda base, changes, **more: load_recipe(base, LESS | changes, **more)
        )
        for name in ("load", "text", "probe", "train", "find", "sweep"):
            example = parser.get_doctest(getattr(gl, name).__doc__, found, name, None, 0)
            assert example.examples, f"{name} shows no use"
            result = runner.run(example, clear_globs=False)
            found = example.globs
            assert result.failed == 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gemma-3-270m", "smollm2-135m-instruct"])
def test_the_ten_lines_run_on_a_real_model(model, tmp_path, monkeypatch):
    """`shared/models/real_models.py FOLDER` makes the models; GLOSSAE_REAL_MODELS names FOLDER."""
    folder = Path(os.environ.get("GLOSSAE_REAL_MODELS", "")) / model
    if "GLOSSAE_REAL_MODELS" not in os.environ or not folder.is_dir():
        pytest.skip(f"GLOSSAE_REAL_MODELS names no folder that has {model}")
    (page,) = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    # the layer is given rather than looked for, and the autoencoder is small
    for written, here in (
        ('"google/gemma-3-270m"', repr(str(folder))),
        ('gl.probe(lm, text, target="da")', "Found()"),
        ("layer=layers.best", "layer=layers.best, latents=256, k=16, epochs=1"),
    ):
        assert written in page
        page = page.replace(written, here)
    for code in ("da", "en", "sv"):
        lines = "".join(f"{pair[code]}\n" for pair in sentences(200, seed=5))
        (tmp_path / f"{code}.txt").write_text(lines, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    load_recipe = api.load_recipe
    monkeypatch.setattr(
        api, "load_recipe", lambda base, changes, **more: load_recipe(base, FEWEST | changes, **more)
    )

    class Found:
        best = 9

    said = []
    exec(page, names := {"Found": Found, "print": said.append})
    (written,) = said
    assert isinstance(written, str)
    assert written != names["lm"].write("When he went fishing he saw")
    assert set(names["effect"].table["language"]) == {"da", "en", "sv"}
    assert gl.Knob.load("danish.safetensors").names == [f"latent {n}" for n in names["units"].numbers]
    print(f"{model}: {names['units']!r}, FVU {names['sae'].quality}; turned by 4: {written!r}")


def test_every_public_name_is_there_and_explained():
    for name in gl.__all__:
        assert getattr(gl, name).__doc__ or name == "__version__"
    assert 10 <= len(gl.__all__) <= 20


def test_tables_figures_and_html(names):
    for name in ("found", "units", "effect"):
        result = names[name]
        assert len(result.table)
        assert result.plot().axes
        assert result.plot()._repr_png_().startswith(b"\x89PNG")
        assert "<table" in result._repr_html_()
    assert "<table" in names["text"]._repr_html_()
    assert set(names["text"].table.columns) >= {"train", "test", "panel"}
    assert "<script" not in names["unit"]._repr_html_()


def test_the_table_of_layers_is_narrow_enough_to_print_its_scores(names):
    found = names["found"]
    assert list(found.table) == ["layer", "score", "se", "nearest", "difference", "probe"]
    assert (found.table["score"] == found.table[["difference", "probe"]].min(axis=1)).all()
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        printed = str(found.table)
    assert "..." not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_layers_of_two_languages_have_a_table_and_a_plot(names):
    pair = gl.text(**{c: [row[c] for row in sentences(120, seed=3)] for c in ("da", "en")})
    found = gl.probe(names["lm"], pair, quick=True)
    assert found.best in set(found.table["layer"])
    assert {"bce", "bce_se"} < set(found.table)
    assert found.plot().axes


def test_quick_takes_the_settings_of_the_command_line(names, capsys):
    """An SAE of the quick size, trained on the quick number of sentences; and find reads it without training."""
    rows = sentences(240, seed=4)
    text = gl.text(**{c: [row[c] for row in rows] for c in ("da", "en", "sv")})
    sae = gl.train(names["lm"], text, layer=1, epochs=1, quick=True)
    assert (sae.config.latents, sae.config.k) == (1024, 32)
    assert "training the autoencoder" in capsys.readouterr().err
    units = gl.find(names["lm"], sae, text, quick=True, settings={"evidence.minimum": 0.6})
    said = capsys.readouterr().err
    assert "reading the autoencoder" in said
    assert "training the autoencoder" not in said
    # of each language at most 20 sentences of test, and the sweep measures no others
    few = {"effects.families": "none", "effects.tune": False}
    effect = gl.sweep(names["lm"], units, text, values=[-1], settings=few)
    assert effect.table["sentences"].max() <= 20


def test_a_sweep_says_how_selective_the_units_are(names):
    versus = set(names["effect"].selectivity["versus"])
    assert {"en", "sv", "nb", "de", "nearest"} <= versus


def test_a_sweep_continues_what_find_has_done(names, monkeypatch):
    ran = []
    stage_of = engine.stage_of

    def counting(name):
        stage = stage_of(name)
        return dataclasses.replace(stage, run=lambda *given: (ran.append(name), stage.run(*given))[1])

    monkeypatch.setattr(engine, "stage_of", counting)
    lm, units, text = names["lm"], names["units"], names["text"]
    again = gl.sweep(lm, units, text, values=[-4, 2])
    assert ran == ["effects"]
    assert set(again.table["value"].dropna()) >= {-4.0, 2.0}
    unit = units[units.numbers[0]]
    best = unit.dashboard.contexts["da"][0]
    assert unit.contexts[0] == ("da", list(zip(best.tokens, best.values, strict=True)))
    assert all(f"<td>{code}</td>" in unit._repr_html_() for code in ("da", "en"))
    with pytest.raises(GlossaeError, match="effects.sentences: must be at least 1"):
        gl.sweep(lm, units, text, settings={"effects.sentences": 0})


def test_nothing_is_measured_while_units_are_turned(names):
    lm, sae, text, units = (names[name] for name in ("lm", "sae", "text", "units"))
    with units.turned(4):
        for call in (
            lambda: gl.probe(lm, text),
            lambda: gl.train(lm, text, layer=1),
            lambda: gl.find(lm, sae, text),
            # the values of which there are results
            lambda: gl.sweep(lm, units, text, values=[-4, 4]),
        ):
            with pytest.raises(GlossaeError, match="model: units are turned: leave the `with` block first"):
                call()


def test_a_model_that_was_changed_in_place_is_measured_anew(names, monkeypatch):
    lm, units, text = names["lm"], names["units"], names["text"]
    weight = next(lm.model.parameters())
    before = weight.detach().clone()
    load_recipe = api.load_recipe
    monkeypatch.setattr(
        api, "load_recipe", lambda base, changes, **more: load_recipe(base, LESS | changes, **more)
    )
    # torch does not count this as a write
    weight.data.add_(torch.randn_like(weight))
    try:
        # the values of which there are results
        changed = gl.sweep(lm, units, text, values=[-4, 4]).table
        monkeypatch.setattr(type(units._context.folder), "stands", lambda *_: False)
        with pytest.raises(GlossaeError, match="model: its weights have changed since gl.find"):
            units[units.numbers[0]]
    finally:
        weight.data.copy_(before)
    assert changed["ce"].min() > names["effect"].table["ce"].min() + 0.1


def test_results_are_written_and_read_again(names, tmp_path):
    for name, kind in (("found", gl.Layers), ("effect", gl.Effect)):
        again = kind.load(names[name].save(tmp_path / f"{name}.json"))
        pd.testing.assert_frame_equal(again.table, names[name].table, check_dtype=False)
    with pytest.raises(GlossaeError, match="cannot be read as Layers"):
        gl.Layers.load(tmp_path / "effect.json")
    names["effect"].save(tmp_path / "effect.json")
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(GlossaeError, match="mine.json: exists and is no result of glossae"):
        names["effect"].save(tmp_path / "mine.json")
    assert (tmp_path / "mine.json").read_text() == "{}"


def test_units_turn_the_model_and_are_a_knob(names, tmp_path):
    lm, units = names["lm"], names["units"]
    plain = lm.write("A dog")
    with units.turned(30):
        assert lm.write("A dog") != plain
    assert lm.write("A dog") == plain
    knob = gl.Knob.load(units.save(tmp_path / "danish.safetensors"))
    with knob.on(lm):
        assert isinstance(lm.write("A dog"), str)


def test_the_numbers_are_those_of_a_run(names, tmp_path):
    from glossae.cli import main

    line = (
        "run find --model toy --target da --text toy --languages.others sv,nb,de --sae.latents 512 --sae.k 8 "
        f"--sae.epochs 3 --layer {names['found'].best} --baselines.trained 0 --baselines.frozen 0 --dtype float32"
    )
    less = [f"--{key}={value}" for key, value in LESS.items()]
    run = [*line.split(), *less, "--until", "features", "--quiet", "--out", str(tmp_path / "run")]
    assert main(run) == 0
    features = json.loads((tmp_path / "run" / "results.json").read_text())["features"]
    assert [row["unit"] for row in features["units"]] == list(names["units"].numbers)
    assert [row["rate"] for row in features["units"]] == names["units"].table.filter(like="rate.").rename(
        columns=lambda name: name[5:]
    ).to_dict("records")


def test_settings_are_named_as_they_were_given(names):
    lm, text = names["lm"], names["text"]
    for settings, line in (
        ({"latents": 512}, "^unknown setting 'latents'; did you mean 'sae.latents'"),
        ({"model": "other"}, "^settings: model: is given by the model and the text"),
        ({"sae.k": 0}, "^sae.k: must be at least 1"),
    ):
        with pytest.raises(GlossaeError, match=line):
            gl.train(lm, text, layer=1, settings=settings)


def test_what_is_printed_is_short(names):
    for name in ("lm", "text", "sae", "effect"):
        assert len(repr(names[name])) < 3000
    assert "512 latents" in repr(names["sae"])


def test_an_sae_of_other_languages_is_named(names, monkeypatch):
    monkeypatch.setattr(api, "_done", lambda *_: pytest.skip.Exception("looked no further"))
    with pytest.warns(UserWarning, match="trained on da and en, not on sv"), pytest.raises(AttributeError):
        gl.find(names["lm"], names["sae"], names["text"], target="sv")


def test_units_that_do_not_pass_say_so(names):
    units = names["units"]
    assert ("none passes" in repr(units)) == (units.rule == "fallback")
    assert ("none passes" in units._repr_html_()) == (units.rule == "fallback")


def test_text_that_is_handed_over():
    danish, english = (
        ["Hunden løber hjem nu.", "Katten sover."],
        ["The dog runs home now.", "The cat sleeps."],
    )
    lists = gl.text(da=danish, en=english)
    frame = gl.text(pd.DataFrame({"da": danish, "en": english}))
    long = gl.text(
        pd.DataFrame({"text": danish + english, "language": ["da", "da", "en", "en"], "pair": [0, 1, 0, 1]})
    )
    assert lists.languages == frame.languages == long.languages == ("da", "en")
    assert [s.text for s in lists.given.sentences] == [*danish, *english]
    assert frame.given.sentences[0].pair == frame.given.sentences[1].pair
    assert {s.pair for s in frame.given.sentences} == {s.pair for s in long.given.sentences}
    assert gl.text("sv=A.txt en=B.txt da=C.txt").languages == ("sv", "en", "da")
    assert gl.text("opus:ELRC_2923", da=None, en=None).languages == ("da", "en")


@pytest.mark.parametrize("name", ["com,en=ma.txt", "q\"uo'te.txt", "back\\slash.txt", "of da:en .txt"])
def test_a_path_is_the_file_of_that_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = sentences(60, seed=6)
    for code, file in (("da", name), ("en", "english.txt")):
        Path(file).write_text("".join(f"{row[code]}\n" for row in rows), encoding="utf-8")
    for path in (name, Path(name), tmp_path / name):
        corpora = gl.text(da=path, en="english.txt").roles("da", "en").corpora
        found = {s.text for corpus in corpora.values() for s in corpus.only("da").sentences}
        assert found == {row["da"] for row in rows}


@pytest.mark.parametrize("name", ["a b.tsv", "da=x,en=y.tsv", "opus:x.tsv"])
def test_a_path_alone_is_a_file_of_several_languages(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = sentences(60, seed=6)
    lines = [f"{row['da']}\t{row['en']}\n" for row in rows]
    Path(name).write_text("".join(["da\ten\n", *lines]), encoding="utf-8")
    for path in (Path(name), tmp_path / name):
        found = gl.text(path, da=None, en=None).roles("da", "en")
        assert sum(len(corpus) for corpus in found.corpora.values()) == 120


def test_half_a_surrogate_pair_is_text(names):
    assert names["lm"].write("A dog \ud800", new_tokens=2) == names["lm"].write("A dog ?", new_tokens=2)
    rows = [row["da"] + "\udfff" for row in sentences(60, seed=6)]
    found = gl.text(da=rows, en=[row["en"] for row in sentences(60, seed=6)]).roles("da", "en")
    assert not any("\udfff" in s.text for corpus in found.corpora.values() for s in corpus.sentences)


def test_what_is_missing_in_a_data_frame_is_no_text_no_pair_and_no_document():
    nan = float("nan")
    frame = pd.DataFrame(
        {
            "text": ["null", None, "NA", "NaN", nan],
            "language": ["da-DK", "da", "en", "dan", "en"],
            "pair": [nan, 1, nan, 2, 2],
            "doc": ["a", "a", nan, None, "a"],
        }
    )
    sentences = gl.text(frame).given.sentences
    assert [(s.text, s.language, s.doc) for s in sentences] == [
        *(("null", "da", "a"), ("NA", "en", ""), ("NaN", "da", "")),
    ]
    assert len({s.pair for s in sentences}) == 3


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: gl.text(pd.DataFrame({"text": ["a"], "language": [float("nan")]})),
            "row 0: its language is nan",
        ),
        (
            lambda: gl.text(pd.DataFrame({"text": ["a"], "language": ["dk"]})),
            "row 0: its language is 'dk'",
        ),
        (lambda: gl.text(pd.DataFrame({"da": ["a", 7], "en": ["b", "c"]})), "row 1: 7 is no text"),
        (lambda: gl.text(pd.DataFrame({"da": ["a"], "dan": ["b"]})), "one for each language code"),
        (lambda: gl.text(dan=["a"], en=["b"]), "'dan' is no language code: write da"),
        (lambda: gl.text(da="nofile.txt", en=["a"]), "da: there is no file 'nofile.txt'"),
        (lambda: gl.text(da=pd.Series(["a", None]), en=["b"]), "da: expected a file or a list of sentences"),
        (lambda: gl.text(danish=["a"], en=["b"]), "'danish' is no language code"),
        (lambda: gl.text(da=["a"]), "name two languages at least"),
        (lambda: gl.text(pd.DataFrame({"sentence": ["x"]})), "a data frame has the columns"),
        (lambda: gl.load("no/such/model/here"), "model"),
        (lambda: gl.text(da=["x"], en=["y"]).roles("sv", "en"), "the text has no sv"),
        (lambda: gl.report(Path("nowhere")), "nowhere"),
        (lambda: gl.report(None), "run: expected a path, got None"),
        (lambda: gl.open_run(5), "run: expected a path, got 5"),
        (
            lambda: gl.load(None),
            "model: expected a model of transformers, or for gl.load a name or folder, got",
        ),
        (lambda: gl.load(b"toy"), "gl.load a name or folder, got b'toy'"),
        (lambda: gl.load(""), "model: expected a path, got ''"),
        (lambda: gl.load(torch.nn.Linear(1, 1)), "model: Linear is no model of transformers"),
        (lambda: gl.load("toy", device=5), "device: expected a name such as cpu, got 5"),
        (lambda: gl.load("toy", dtype="float99"), "dtype: expected auto, float32, bfloat16 or float16, got"),
        (lambda: gl.text(5), "text: expected a source string or a data frame, got 5"),
        (lambda: gl.text(da=5, en=["a"]), "da: expected a file or a list of sentences"),
        (lambda: gl.text(da=b"ab", en=["a"]), "da: expected a file or a list of sentences"),
        (lambda: gl.text(da={"a": 1}, en=["a"]), "da: expected a file or a list of sentences"),
        (lambda: gl.text(da={"a", "b"}, en=["a"]), "da: expected a file or a list of sentences"),
        (lambda: gl.text(da=pd.DataFrame({"a": ["b"]}), en=["a"]), "da: expected a file or a list"),
        (lambda: gl.text(da="", en=["a"]), "text: da: expected a path, got ''"),
        (
            lambda: gl.text(pd.DataFrame([["a", "b", "da"]], columns=["text", "text", "language"])),
            "the data frame has several columns 'text'",
        ),
        (lambda: gl.text(pd.DataFrame({"text": [["a"]], "language": ["da"]})), "row 0: ['a'] is no text"),
        (lambda: gl.probe("toy", TWO), "lm: expected a model of gl.load, got 'toy'"),
        (lambda: gl.probe(LM, "toy"), "text: expected a text of gl.text, got 'toy'"),
        (
            lambda: gl.train(LM, TWO, layer=1, settings=["sae.k"]),
            "settings: expected a dictionary, got ['sae.k']",
        ),
        (lambda: gl.sweep(LM, [1], TWO), "units: expected what gl.find gave, got [1]"),
        (lambda: LM.write(5), "prompt: expected a text, got 5"),
        (lambda: gl.Sae.load(None), "sae: expected a path, got None"),
        (lambda: gl.Sae.from_pretrained(None), "name: expected a path, got None"),
        (lambda: SAE.save(""), "folder: expected a path, got ''"),
        (lambda: SAE.save_pretrained(5), "folder: expected a path, got 5"),
        (lambda: SAE.push_to_hub(5), "name: expected OWNER/NAME or a folder, got 5"),
        (lambda: gl.Knob.load(5), "path: expected a path, got 5"),
        (lambda: gl.Layers.load(5), "path: expected a path, got 5"),
    ],
)
def test_what_is_wrong_is_one_line(call, line, unchecked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GlossaeError) as caught:
        call()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dose", [None, [1], 10**400, "much"])
def test_a_dose_that_is_no_number(names, unchecked, dose):
    lm, units = names["lm"], names["units"]
    knob = units.knob()
    for call in (
        units.turned,
        knob.turned,
        *([] if dose is None else [lambda d: knob.on(lm, dose=d).__enter__()]),
    ):
        with pytest.raises(GlossaeError, match="^knob: dose: expected a number, got [^\n]*$"):
            call(dose)


def test_what_is_no_model_and_no_value_is_one_line(names, unchecked):
    with (
        pytest.raises(GlossaeError, match="model: expected a model of transformers"),
        names["units"].knob().on("toy"),
    ):
        pass
    for values in (5, "12", None):
        with pytest.raises(GlossaeError, match="values: expected a list of numbers"):
            gl.sweep(names["lm"], names["units"], names["text"], values=values)


def test_an_sae_reads_other_precisions(names):
    sae = names["sae"]
    x = torch.randn(4, sae.config.d_in)
    assert torch.equal(sae(x.double()), sae(x))
    assert sae(x.bfloat16()).dtype == torch.float32
