"""A recipe is read right or refused in one line that names the file and the key."""

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from glossae.errors import GlossaeError
from glossae.recipe import (
    PRECISIONS,
    BadSettingError,
    Corpora,
    Effects,
    Grid,
    Languages,
    Probe,
    Recipe,
    SaeSettings,
    load_recipe,
    quick_settings,
    recipe_values,
    shared_json,
    shared_recipe,
    shipped_recipes,
)

GIVEN: defaultdict[str, dict[str, str]] = defaultdict(
    dict, find={"model": "toy", "languages.target": "sv", "corpora.text": "toy"}
)
"""What a shipped recipe needs from its user."""
MINIMAL = "model: toy\ncorpora: {train: toy}\nsae: {latents: 64}\n"


def read(folder: Path, text: str | bytes, **overrides: str) -> Recipe:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe(path, overrides)


def refusal(folder: Path, text: str | bytes) -> str:
    """The one line with which a YAML text is refused, without its folder."""
    with pytest.raises(GlossaeError) as caught:
        read(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def flag_refusal(**overrides: str) -> str:
    with pytest.raises(GlossaeError) as caught:
        load_recipe("demo", {key.replace("__", "."): value for key, value in overrides.items()})
    return str(caught.value)


def test_shipped_recipes_read_and_say_what_they_are():
    assert {"demo", "pythia-14m", "pythia-70m", "paper"} <= set(shipped_recipes())
    for name, description in shipped_recipes().items():
        assert load_recipe(name, GIVEN[name]).name == name
        assert description


def test_the_paper_is_the_papers():
    paper = load_recipe("paper")
    assert (paper.model, paper.site, paper.layer) == ("EleutherAI/pythia-1.4b", "mlp.hidden", 16)
    assert (paper.sae.expansion, paper.sae.k, paper.sae.batch_sentences) == (8, 32, 32)
    assert len(paper.probe.models) == 7
    assert paper.protocol == "published"
    grid = paper.grid
    assert (grid.model, grid.layer, grid.size(512)) == ("EleutherAI/pythia-14m", 3, 2048)
    assert len(grid.tied) * len(grid.pre_encoder_bias) * (len(grid.k) + len(grid.l1)) == 48


def test_no_other_recipe_has_a_grid_unless_asked_for():
    assert [name for name in shipped_recipes() if load_recipe(name, GIVEN[name]).grid.wanted] == ["paper"]
    assert load_recipe("demo", {"grid.l1": "0.01"}).grid.wanted
    off = load_recipe("paper", {"grid.k": "none", "grid.l1": "none"}).grid
    assert not off.wanted


def test_lambdas_are_the_papers_ten():
    assert Probe().lambdas == pytest.approx([0.1 * 300 ** (step / 9) for step in range(10)])


def test_a_recipe_does_not_change():
    recipe = load_recipe("demo")
    with pytest.raises(ValueError, match="frozen"):
        recipe.sae.k = 3
    hash(recipe)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: SaeSettings(latents=8, k=0), "sae.k: must be at least 1, got 0"),
        (lambda: SaeSettings(latents=8, k=9), "sae.k: must be at most sae.latents, 8, got 9"),
        (lambda: SaeSettings(latents=8, lr="x"), "sae.lr: expected a number or none, got 'x'"),
        (lambda: Grid(latents=32, k=(4, 40)), "grid.k: must be at most grid.latents, 32, got 40"),
        (lambda: Grid(latents=32, expansion=4), "grid.latents: give either this or grid.expansion, not both"),
        (lambda: Languages(refrence="sv"), "languages.refrence: is no setting"),
        (lambda: Recipe(corpora={"train": "toy"}), "name: is missing"),
        (
            lambda: Recipe(name="a", model="b", corpora={"train": "c"}, sae=3),
            "sae: expected a group of settings",
        ),
    ],
)
def test_a_group_made_in_python_is_held_to_the_same_limits(make, line):
    with pytest.raises(BadSettingError, match=f"^{re.escape(line)}"):
        make()


def test_a_grid_on_another_model_needs_a_layer_if_there_is_a_grid():
    assert flag_refusal(grid__k="4", grid__model="gpt2", layer="auto").startswith(
        "--grid.model: needs grid.layer beside it"
    )
    assert load_recipe("demo", {"grid.model": "gpt2"}).grid.model == "gpt2"
    assert load_recipe("demo", {"grid.k": "4", "grid.model": "gpt2", "layer": "2"}).grid.layer is None


def test_a_file_sets_what_it_says_and_is_called_what_it_is_called(tmp_path):
    recipe = read(tmp_path, MINIMAL)
    assert (recipe.name, recipe.model, recipe.sae.latents) == ("mine", "toy", 64)
    assert recipe.effects == Effects()


def test_base_is_inherited_key_by_key_but_not_its_name(tmp_path):
    recipe = read(tmp_path, "base: demo\nlanguages: {target: sv, others: [da]}\n")
    demo = load_recipe("demo")
    assert recipe.languages == Languages(target="sv", reference="en", others=("da",))
    assert recipe.sae == demo.sae
    assert (recipe.name, recipe.description) == ("mine", "")


def test_base_is_a_path_beside_the_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "other.yaml").write_text(MINIMAL)
    assert read(tmp_path, "base: deep/other.yaml\nseed: 7\n").sae.latents == 64


def test_one_size_of_the_autoencoder_takes_the_place_of_an_inherited_other(tmp_path):
    recipe = read(tmp_path, "base: demo\nsae: {expansion: 4}\n")
    assert (recipe.sae.expansion, recipe.sae.latents) == (4, None)
    recipe = load_recipe("pythia-14m", {"sae.latents": "100"})
    assert (recipe.sae.expansion, recipe.sae.latents) == (None, 100)
    grid = load_recipe("paper", {"grid.latents": "300"}).grid
    assert (grid.expansion, grid.latents, grid.size(512)) == (None, 300, 300)
    assert load_recipe("demo").grid.size(10) == 40


def test_a_given_autoencoder_takes_the_place_of_those_that_a_recipe_trains_beside_its_own():
    given = GIVEN["find"] | {"sae.from": "mine.safetensors"}
    baselines = load_recipe("find", given).baselines
    assert (baselines.untrained, baselines.trained, baselines.frozen) == (3, 0, 0)
    for key in ("baselines.trained", "baselines.frozen", "evidence.seeds"):
        with pytest.raises(GlossaeError, match=rf"^--{key}: needs an autoencoder that is trained here"):
            load_recipe("find", given | {key: "1"})


def test_yaml_traps_do_not_snap(tmp_path):
    text = """
base: demo
model: 1234
languages: {others: [no, sv]}
sae: {lr: 1e-3, k: 012, batch_sentences: }
report: {title: 2026-01-01}
"""
    recipe = read(tmp_path, text)
    assert recipe.languages.others == ("no", "sv")
    assert (recipe.sae.lr, recipe.sae.k, recipe.sae.batch_sentences) == (0.001, 12, None)
    assert (recipe.model, recipe.report.title) == ("1234", "2026-01-01")


def test_anchors_and_a_byte_order_mark_are_fine(tmp_path):
    text = "\ufeffbase: demo\ncorpora: {train: &source a.tsv, test: *source}\n"
    assert read(tmp_path, text).corpora == Corpora(train="a.tsv", test="a.tsv")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sae:\n  kk: 3\n", "mine.yaml: unknown key 'sae.kk'; did you mean 'sae.k'?"),
        ("xyzzy: 1\n", "mine.yaml: unknown key 'xyzzy'"),
        ("sae: 3\n", "mine.yaml: sae: expected settings, each a line 'key: value', got '3'"),
        ("- sae\n", "mine.yaml: expected settings, each a line 'key: value', got ['sae']"),
        ("model: toy\nsae:\n  k: 3\n  k: 4\n", "mine.yaml: line 4: the key 'k' is given twice"),
        ("sae.k: 3\nsae: {k: 4}\n", "mine.yaml: sae.k: is given twice"),
        ("model: toy\n---\nmodel: toy\n", "mine.yaml: line 2: expected a single document"),
        ("model: toy\nsae: {k: 3\n", "mine.yaml: line 3: while parsing a flow mapping"),
        ("sae:\n\tk: 3\n", "mine.yaml: line 2: "),
        ("model: toy\nseed: *one\n", "mine.yaml: line 2: found undefined alias 'one'"),
        ("model: toy\nsae: &a\n  k: *a\n", "mine.yaml: line 2: found unconstructable recursive node"),
        ("[model]: toy\n", "mine.yaml: line 1: a key must be a word"),
        ('model: toy\nsite: "\x01"\n', "mine.yaml: line 2: special characters are not allowed"),
        ("[" * 500, "mine.yaml: line 1: nested too deeply to be a recipe"),
        (b"model: toy\nname: sm\xf8r\n", "mine.yaml: line 2: is not UTF-8 text"),
        (
            "",
            "mine.yaml: model, languages.target, corpora.text: are missing: give --model MODEL --target sv --text ",
        ),
        ("base: nope.yaml\n", "mine.yaml: base: no file 'nope.yaml'"),
        ("base: mine.yaml\n", "mine.yaml: base: goes round in a circle: mine.yaml -> mine.yaml"),
        ("base: [demo]\n", "mine.yaml: base: expected the name or path of a recipe, got ['demo']"),
        ("base: demo\nsae: {k: [1]}\n", "mine.yaml: sae.k: expected a whole number, got ['1']"),
        ("base: demo\nsae: {k: }\n", "mine.yaml: sae.k: expected a whole number, got none"),
        ("base: demo\nsae: {lr: nan}\n", "mine.yaml: sae.lr: must be a finite number, got 'nan'"),
        ("model: toy\ncorpora: {train: toy}\n", "mine.yaml: sae.latents: give this or sae.expansion"),
        ("base: demo\nmodel: !!python/name:os.system [x]\n", "mine.yaml: model: expected text, got ['x']"),
        ("base: demo\nmodel: {a: b}\n", "mine.yaml: model: expected text, got {'a': 'b'}"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, text, line):
    refused = refusal(tmp_path, text)
    assert refused.replace(f"'{tmp_path}/", "'").startswith(line)
    assert "\n" not in refused


def test_bases_in_a_circle_are_refused(tmp_path):
    (tmp_path / "other.yaml").write_text("base: mine.yaml\n")
    line = refusal(tmp_path, "base: other.yaml\n")
    assert line == "other.yaml: base: goes round in a circle: mine.yaml -> other.yaml -> mine.yaml"


def test_a_file_of_aliases_of_aliases_is_refused_quickly(tmp_path):
    levels = ["&l0 [a, a]"] + [f"&l{level} [{', '.join([f'*l{level - 1}'] * 9)}]" for level in range(1, 40)]
    line = refusal(tmp_path, f"base: demo\nprobe: {{models: [{', '.join(levels)}]}}\n")
    assert line == "mine.yaml: probe.models: expected a list, each text, got ['a', 'a']"
    line = refusal(tmp_path, f"base: demo\nmodel: [{', '.join(levels)}]\n")
    assert line.startswith("mine.yaml: model: expected text, got [['a', 'a'], [[...], ")
    assert len(line) < 200


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("demmo", "unknown recipe 'demmo'; did you mean 'demo'? (there are demo, find, paper, "),
        ("missing.yaml", "missing.yaml: no such file"),
        (".", "'.' is a folder, not a recipe"),
        ("", "'' is a folder, not a recipe"),
        ("x" * 5000 + ".yaml", "is longer than the name of a file can be"),
        ("null\0byte.yaml", "cannot be read"),
    ],
)
def test_a_recipe_that_is_not_there_is_refused(source, line):
    with pytest.raises(GlossaeError, match=re.escape(line)):
        load_recipe(source)


def test_a_recipe_that_never_ends_is_refused(tmp_path):
    os.mkfifo(tmp_path / "mine.yaml")
    with pytest.raises(GlossaeError, match=r"mine\.yaml: is not a regular file"):
        load_recipe(tmp_path / "mine.yaml")


def test_a_run_folder_points_to_its_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(MINIMAL)
    with pytest.raises(GlossaeError, match=r"is a folder, not a recipe; did you mean '.*/recipe\.yaml'\?"):
        load_recipe(tmp_path)


def test_overrides_are_text_of_the_settings_type():
    recipe = load_recipe(
        "demo",
        {
            "languages.others": "sv, nb",
            "effects.values": "-8,0,1e-1",
            "bos": "True",
            "layer": "3",
            "sae.lr": "none",
            "probe.models": "none",
            "sae.batch_sentences": "32",
        },
    )
    assert recipe.languages.others == ("sv", "nb")
    assert recipe.effects.values == (-8.0, 0.0, 0.1)
    assert recipe.bos is True
    assert (recipe.layer, recipe.sae.lr, recipe.probe.models, recipe.sae.batch_sentences) == (3, None, (), 32)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("sae.k", "0", "must be at least 1, got '0'"),
        ("sae.k", "100000", "must be at most sae.latents, "),
        ("sae.k", "many", "expected a whole number, got 'many'"),
        ("sae.k", "8.5", "expected a whole number, got '8.5'"),
        ("sae.k", "9" * 5000, "expected a whole number, got '999"),
        ("sae.lr", "-1e-3", "must be more than 0, got '-1e-3'"),
        ("sae.lr", "inf", "must be a finite number, got 'inf'"),
        ("sae.lr", "fast", "expected a number or none, got 'fast'"),
        ("sae.activation", "gelu", "expected topk, batchtopk, relu or jumprelu, got 'gelu'"),
        ("sae.warmup", "1.5", "must be at most 1, got '1.5'"),
        ("sae.decay", "0.99", "must leave room for sae.warmup, "),
        ("layer", "-1", "must be at least 0, got '-1'"),
        ("layer", "first", "expected a whole number or auto, got 'first'"),
        ("languages.reference", "da", "must be another language than languages.target, 'da'"),
        ("languages.others", "sv,en", "'en' is already the target or the reference"),
        ("languages.others", "sv,sv", "must be a list in which nothing comes twice, got 'sv,sv'"),
        ("languages.others", "sv,,nb", "must be a language code, such as da"),
        ("languages.others", "dk", "must be a language code, such as da, got 'dk'"),
        ("languages.others", "no,nn", "'nn' is part of 'no' (Norwegian): name one of the two"),
        ("evidence.identify_languages", "da", "takes two languages or more"),
        ("evidence.identify_units", "none", "must be non-empty, got none"),
        ("probe.lambdas", "1,0", "must be more than 0, got '0'"),
        ("probe.lambdas", "1,x", "expected a list, each a number, got 'x'"),
        ("corpora.train", " ", "must be non-empty text without control characters, got ' '"),
        ("grid.tied", "perhaps", "expected a list, each true or false, got 'perhaps'"),
        ("effects.values", "1,nan", "must be a finite number, got 'nan'"),
        ("device", "tpu", "must be auto, cpu, cuda, cuda:N or split, got 'tpu'"),
        ("bos", "maybe", "expected true or false or auto, got 'maybe'"),
        ("model", "none", "expected text, got none"),
        ("model", "a\nb", "must be non-empty text without control characters, got 'a\\nb'"),
        ("model", "\udcff", "must be text without control characters, got '\\udcff'"),
        ("name", "../x", "must be a name without slashes that starts with no dot, got '../x'"),
    ],
)
def test_an_impossible_value_is_refused_and_named_by_its_flag(key, value, line):
    refused = flag_refusal(**{key: value})
    assert refused.startswith(f"--{key}: {line}")
    assert len(refused) < 200


def test_a_group_is_no_setting():
    assert flag_refusal(sae="1") == "--sae: is a group of settings; set one of them, such as --sae.expansion"
    assert flag_refusal(xyzzy="1") == "unknown flag '--xyzzy'"


def test_an_error_blames_the_file_for_what_the_file_says(tmp_path):
    with pytest.raises(GlossaeError, match=r"mine\.yaml: sae\.k: must be at most sae\.latents, 4, got 16$"):
        read(tmp_path, "base: demo\nsae: {k: 16}\n", **{"sae.latents": "4"})


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("k", "sae.k"),
        ("sae.kk", "sae.k"),
        ("epoch", "sae.epochs"),
        ("latents", "sae.latents"),
        ("others", "languages.others"),
        ("panel", "corpora.panel"),
        ("minimum", "evidence.minimum"),
        ("values", "effects.values"),
        ("epochs", "sae.epochs"),
        ("features.k", "sae.k"),
        ("grids.latents", "grid.latents"),
    ],
)
def test_a_last_part_that_several_groups_have_is_named_where_every_run_has_it(tmp_path, word, key):
    # grids, steering and tasks are only where they are asked for
    assert flag_refusal(**{word: "16"}) == f"unknown flag '--{word}'; did you mean '--{key}'?"
    with pytest.raises(GlossaeError, match=rf"unknown key '{word}'; did you mean '{key}'\?$"):
        read(tmp_path, f"base: demo\n{word}: 16\n")


TEXT = {"model": "toy", "languages.target": "sv", "corpora.text": "sv=A.txt en=B.txt da=C,nl=D"}


def test_find_is_neutral():
    recipe = load_recipe("find", TEXT)
    assert (recipe.site, recipe.layer, recipe.features.rule) == ("resid", "auto", "tested")
    assert (recipe.languages.target, recipe.languages.reference) == ("sv", "en")
    assert recipe.languages.others == ("da", "nl")
    assert recipe.corpora.sources == {"text": TEXT["corpora.text"]} | dict.fromkeys(
        ("train", "select", "tune", "test", "panel", "replicate")
    )
    assert load_recipe("find", TEXT | {"languages.others": "nl"}).languages.others == ("nl",)
    # the languages of another text are not this one's
    assert load_recipe("demo", TEXT).languages.others == ("da", "nl")
    assert load_recipe("demo", {**TEXT, "corpora.text": "toy"}).languages.others == ()


def test_what_is_written_of_a_text_is_read_back_equal(tmp_path):
    recipe = load_recipe("find", TEXT)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_text_takes_the_place_of_a_base_recipes_roles_and_train_that_of_its_text(tmp_path):
    (tmp_path / "roles.yaml").write_text(
        "base: demo\ncorpora: {test: b.tsv, panel: c.tsv, replicate: d.tsv}\n"
    )
    text = "base: roles.yaml\nlanguages: {target: sv}\ncorpora: {text: toy}\n"
    corpora = read(tmp_path, text).corpora
    assert corpora == Corpora(text="toy", replicate="d.tsv")
    assert read(tmp_path, text, **{"corpora.train": "a.tsv"}).corpora == Corpora(
        train="a.tsv", replicate="d.tsv"
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"languages.target": "de"},
            "--corpora.text: names no text in 'de', the target; it has sv, en, da, nl: add",
        ),
        (
            {"languages.reference": "de"},
            "--corpora.text: names no text in 'de', the reference; it has sv, en, da, nl",
        ),
        ({"languages.target": "en"}, "--languages.reference: is missing: give --reference de"),
        (
            {"sae.stream": "web.txt"},
            "--sae.tokens: is missing: say how many tokens of sae.stream to train on",
        ),
        # a value of the shipped recipe that does not fit a flag's
        ({"sae.latents": "8"}, "--sae.k: must be at most sae.latents, 8, got 64"),
        (
            {"corpora.text": "sv=A.txt en=B.txt no=C.txt nn=D.txt"},
            "--corpora.text: 'nn' is part of 'no' (Norwegian): name one of the two",
        ),
        (
            {"corpora.panel": "x"},
            "--corpora.panel: is cut out of corpora.text: give corpora.text or corpora.panel",
        ),
    ],
)
def test_a_text_that_does_not_fit_is_refused(changes, line):
    with pytest.raises(GlossaeError, match=f"^{re.escape(line)}"):
        load_recipe("find", TEXT | changes)


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("sv=A.txt en=B.txt da=C.txt", ("da",)),
        ("da_DK=A,en=B cols:sv,-,nb-NO:C.txt", ("da", "nb")),
        ("da=A.txt all.tsv", ("da",)),
        ("opus:Name", ()),
        ("hub:a/b,da=X,nb=Y", ()),
        ("da=A 'open", ()),
    ],
)
def test_the_other_languages_are_those_that_sources_name(text, others):
    assert load_recipe("find", TEXT | {"corpora.text": text}).languages.others == others


def test_without_a_target_it_is_the_first_language_of_the_text():
    text = {"model": "toy", "corpora.text": "en=B.txt sv=A.txt da=C,nl=D"}
    recipe = load_recipe("find", text)
    assert (recipe.languages.target, recipe.languages.reference) == ("sv", "en")
    assert recipe.languages.others == ("da", "nl")
    assert load_recipe("find", text | {"languages.reference": "sv"}).languages.target == "en"
    with pytest.raises(GlossaeError, match=r"corpora\.text: names no text in 'en', the reference"):
        load_recipe("find", text | {"corpora.text": "sv=A.txt da=B.txt"})


def test_find_says_all_that_it_needs():
    with pytest.raises(
        GlossaeError, match=r"^--model, --languages\.target, --corpora\.text: are missing: give --model "
    ):
        load_recipe("find")
    values = recipe_values("find", {"sae.k": "7"})
    missing = {"model", "languages.target", "corpora.text"}
    assert values.keys() == recipe_values("find", TEXT).keys() - missing
    assert (values["sae.k"], values["sae.latents"]) == (7, 4096)


@pytest.mark.parametrize("name", shipped_recipes())
def test_quick_makes_any_recipe_small(name):
    given = GIVEN[name]
    load_recipe(name, given, quick=True)
    settings = {
        key: ",".join(value) if isinstance(value, list) else value or "none"
        for key, value in quick_settings().items()
    }
    own, small = recipe_values(name, given), recipe_values(name, given | settings)
    for key, value in recipe_values(name, given, quick=True).items():
        number = key in settings and isinstance(own[key], int | float) and not isinstance(own[key], bool)
        smaller = max if key in PRECISIONS else min
        assert value == (smaller(own[key], small[key]) if number else small[key]), key
    assert settings.keys() >= set(PRECISIONS)


def test_flags_win_over_quick():
    overrides = {"sae.expansion": "3", "effects.tune": "true", "probe.seeds": "9"}
    recipe = load_recipe("pythia-14m", overrides, quick=True)
    assert (recipe.sae.expansion, recipe.sae.latents) == (3, None)
    assert (recipe.effects.tune, recipe.probe.seeds, recipe.effects.prompts) == (True, 9, False)


def test_what_is_shared_of_a_recipe_has_base_names_in_place_of_paths():
    recipe = load_recipe(
        "demo",
        {
            "model": "/models/own/gemma",
            "probe.models": "/models/own/gemma,org/other",
            "sae.from": "/saes/one",
            "corpora.train": "da=/t/a.txt,en=/t/b.txt 'cols:en,-,da:/t/two words.tsv' opus:Books hub:org/set,split=a/b",
            "tasks.names": "own:da=/t/rows.tsv angry-tweets",
        },
    )
    shared = shared_recipe(recipe)
    assert (shared.model, shared.probe.models, shared.sae.from_) == ("gemma", ("gemma", "org/other"), "one")
    assert (
        shared.corpora.train
        == "da=a.txt,en=b.txt 'cols:en,-,da:two words.tsv' opus:Books hub:org/set,split=a/b"
    )
    assert shared.tasks.names == "own:da=rows.tsv angry-tweets"
    assert shared_json({"/models/own/gemma": "of /t/a.txt"}, recipe) == {"gemma": "of a.txt"}
