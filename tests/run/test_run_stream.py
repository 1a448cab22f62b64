"""Autoencoders trained on a stream: carried on bit for bit, without tested sentences, faults in one line."""

import gzip
import json
import shutil

import pytest
import torch
from tiny_world import PAIRS, TEST_PAIRS

from glossae.cli import main
from glossae.corpora import parse_stream
from glossae.lm import Site, load, stream_tokens, token_cache
from glossae.recipe import load_recipe
from glossae.reporting.page import contents
from glossae.reporting.reading import read_run
from glossae.run import context
from glossae.sae import read_sae
from glossae.stages.shared import sae_jobs
from glossae.stages.shared.sae_jobs import TrainingText
from toy_grammar import sentences

SHORT = {
    "layer": 1,
    "probe__paper": "false",
    "sae__checkpoint": 0,
    "sae__tokens": 4000,
    "sae__batch_tokens": 128,
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of this module's own, of small shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOSSAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(token_cache, "SHARD_TOKENS", 1500)
        patch.setattr(token_cache, "_AT_ONCE", 1000)
        # several chunks in each shard
        patch.setattr(sae_jobs, "CHUNK_VALUES", 32 * 300)
        patch.setattr(sae_jobs, "POOL_VALUES", 32 * 500)
        yield


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A folder of shards: Danish and English of other pairs than the world's, and at last the world's own."""
    folder = tmp_path_factory.mktemp("stream") / "web"
    folder.mkdir()
    other = [text for pair in sentences(300, seed=77) for text in (pair["da"], pair["en"])]
    (folder / "a.txt").write_text("".join(f"{text}\n" for text in other[:200]), encoding="utf-8")
    with gzip.open(folder / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in other[200:])
    return folder


def until_sae(world, out, *more, **changes):
    return world.run_undrawn(out, "--until", "sae", *more, **SHORT | changes)


@pytest.fixture(scope="module")
def whole(world, shards, tmp_path_factory):
    """The folder of a run that was left alone; not to be written to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert until_sae(world, out, sae__stream=shards) == 0
    return out


def test_what_is_trained_on_is_said(whole):
    sae = read_sae(whole / "sae")
    assert sae.trained_on.startswith("4,0")
    assert " tokens of web" in sae.trained_on
    results = json.loads((whole / "results.json").read_text())
    assert 4000 <= results["sae"]["train_tokens"] < 4100
    assert not (whole / "sae" / "checkpoints").exists()


def test_a_folder_of_which_one_file_is_enough_is_said(world, tmp_path, capsys):
    """As of one that is sorted by language."""
    web = tmp_path / "web"
    web.mkdir()
    for code in ("da", "en"):
        lines = "".join(f"{pair[code]}\n" for pair in sentences(700, seed=78))
        (web / f"{code}.txt").write_text(lines, encoding="utf-8")
    out = tmp_path / "run"
    assert until_sae(world, out, sae__stream=web) == 0
    streamed = json.loads((out / "results.json").read_text())["sae"]["streamed"]
    assert (streamed["web/en.txt"], list(streamed)) == (0, ["web/da.txt", "web/en.txt"])
    said = f"web/da.txt {streamed['web/da.txt']:,} (100 %), nothing of web/en.txt"
    assert f"{said}\n" in capsys.readouterr().err
    (details,) = (each for each in contents(read_run(out)).tables if each.label.startswith("Table 4"))
    facts = {row["What"].text: row["This run"].text for row in details.rows}
    assert facts["Tokens by file of the stream"] == said


@pytest.mark.parametrize("share", [0.2, 0.45, 0.7])
def test_a_killed_training_is_carried_on_to_the_same_bytes(
    world, shards, whole, tmp_path, dies, capsys, share
):
    out = tmp_path / "run"
    dies(out, "sae", share, sae__stream=shards, **SHORT)
    assert list((out / "sae" / "checkpoints").glob("step-*"))
    assert until_sae(world, out, sae__stream=shards) == 0
    assert ": carrying on at step " in capsys.readouterr().err
    assert (out / "sae" / "sae.safetensors").read_bytes() == (whole / "sae" / "sae.safetensors").read_bytes()
    assert (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()


@pytest.fixture(scope="module")
def text(world, shards):
    """What the world's autoencoder is trained on, in two epochs."""
    lm = load(str(world.model), dtype=torch.float32)
    tokens = stream_tokens(lm, parse_stream(str(shards)), tokens=4000, longest=64)
    settings = {key.replace("__", "."): str(value) for key, value in SHORT.items()} | {
        "sae.stream": str(shards)
    }
    recipe = load_recipe(
        world.recipe, {"model": str(world.model), "site": "resid", "sae.epochs": "2", **settings}
    )
    return TrainingText(lm, Site("resid", 1), tokens, recipe)


def test_chunks_from_any_number_on_are_the_same_without_running_the_model_over_those_before(text, passes):
    every = list(text.stream(0))
    assert sum(map(len, every)) == text.total == 2 * text.tokens.tokens
    for start in range(0, len(every) + 1, 5):
        passes[0] = 0
        rest = list(text.stream(start))
        assert len(rest) == len(every) - start
        assert all(map(torch.equal, rest, every[start:]))
        if start == len(every):
            assert not passes[0]


def test_a_second_epoch_has_the_same_texts_in_another_order(text):
    every = list(text.stream(0))
    half = len(every) // 2
    first, second = (torch.cat(part).sum(1).sort().values for part in (every[:half], every[half:]))
    assert not torch.equal(every[0], every[half])
    torch.testing.assert_close(first, second)


def test_sentences_of_tested_roles_are_left_out_and_counted(world, shards, tmp_path, capsys):
    tested = [pair["da"] for pair in sentences(PAIRS + TEST_PAIRS, seed=3)[PAIRS:]]
    stream = shutil.copytree(shards, tmp_path / "web")
    with (stream / "a.txt").open("a", encoding="utf-8") as file:
        file.writelines(f"{text.upper()}\n" for text in tested)
    assert until_sae(world, tmp_path / "run", sae__stream=stream) == 0
    said = capsys.readouterr().err
    trained_on = read_sae(tmp_path / "run" / "sae").trained_on
    left_out = int(trained_on.partition(", without ")[2].split()[0])
    assert left_out >= len(set(tested))
    assert f"without {left_out} sentences that a tested role has" in said


def test_the_grid_and_other_seeds_read_the_same_tokens(world, shards, whole, tmp_path, monkeypatch):
    """What the first run has kept on disk is all that is read."""
    from glossae.corpora import TextStream

    monkeypatch.setattr(TextStream, "documents", None)
    other = {"layer": 2, "seed": 5, "sae__latents": 32, "baselines__untrained": 1, "baselines__trained": 1}
    grid = {"grid__k": "2", "grid__latents": 32, "grid__tied": "false", "grid__pre_encoder_bias": "true"}
    out = tmp_path / "run"
    settings = SHORT | other | grid | {"sae__stream": shards}
    assert world.run_undrawn(out, "--until", "sae", **settings) == 0
    assert (out / "sae" / "seed_6" / "sae.safetensors").is_file()
    results = json.loads((out / "results.json").read_text())
    assert results["grid"]["train_tokens"] == results["sae"]["train_tokens"] >= 4000


def test_a_finished_run_is_kept_until_the_stream_changes(world, shards, tmp_path, capsys):
    stream, out = shutil.copytree(shards, tmp_path / "web"), tmp_path / "run"
    assert until_sae(world, out, sae__stream=stream) == 0
    first = (out / "sae" / "sae.safetensors").read_bytes()
    line = [each for each in world.line(out, **SHORT, sae__stream=stream) if each != "--again"]
    capsys.readouterr()
    assert main([*line, "--until", "sae"]) == 0
    assert "sae: done before, kept" in capsys.readouterr().err
    with (stream / "a.txt").open("a") as file:
        file.write("One more sentence.\n")
    assert main([*line, "--until", "sae", "--quiet"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "has finished stages (sae) of other inputs (the text of sae.stream changed)" in said
    assert until_sae(world, out, sae__stream=stream) == 0
    assert (out / "sae" / "sae.safetensors").read_bytes() != first


def test_a_checkpoint_of_another_stream_is_not_carried_on(world, shards, tmp_path, dies, capsys):
    stream, out = shutil.copytree(shards, tmp_path / "web"), tmp_path / "run"
    dies(out, "sae", 0.5, sae__stream=stream, **SHORT)
    with (stream / "a.txt").open("a") as file:
        file.write("One more sentence.\n")
    assert until_sae(world, out, sae__stream=stream) == 0
    assert "belongs to a training on other text or with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sae__stream": "nowhere.txt"}, "sae.stream: nowhere.txt: no such file"),
        ({"sae__stream": "nowhere"}, "sae.stream: 'nowhere': there is no such file or folder: give a .txt, "),
        (
            {"sae__stream": "a.tsv"},
            "sae.stream: 'a.tsv': is no stream of text that is understood: give a .txt, ",
        ),
        (
            {"sae__stream": "SHARDS", "sae__tokens": None},
            "sae.tokens: is missing: say how many tokens of sae.stream",
        ),
        ({"sae__tokens": 500}, "--sae.tokens: is for sae.stream"),
        ({"sae__stream": "SHARDS", "sae__batch_sentences": 8}, "--sae.batch_sentences: is for train"),
        ({"sae__stream": "SHARDS,text=x"}, "sae.stream: SHARDS/a.txt: is a .txt, which has no column 'x'"),
        (
            {"sae__stream": "SHARDS", "sae__tokens": 10**6},
            "sae.tokens: 1,000,000 tokens are wanted, and sae.stream has ",
        ),
    ],
)
def test_bad_input_is_one_line(world, shards, tmp_path, capsys, changes, words):
    changes = {key: str(value).replace("SHARDS", str(shards)) for key, value in changes.items()}
    assert until_sae(world, tmp_path / "run", **changes) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert words.replace("SHARDS", str(shards)) in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sae__stream": "nowhere.txt"}, "sae.stream: nowhere.txt: no such file"),
        ({"sae__stream": "nowhere"}, "sae.stream: 'nowhere': there is no such file or folder"),
        ({"sae__stream": "SHARDS,text=x"}, "sae.stream: SHARDS/a.txt: is a .txt, which has no column 'x'"),
        (
            # the first file is as it should be
            {"sae__stream": "WEB"},
            "sae.stream: WEB/b.jsonl, line 1: has no column text or sentence, but 'body': name the column",
        ),
        ({"sae__from": "nowhere", "sae__tokens": None, "layer": "1"}, "sae.from: nowhere: "),
    ],
)
def test_what_cannot_be_read_is_found_before_the_model_is_loaded(
    world, shards, tmp_path, capsys, monkeypatch, changes, words
):
    web = tmp_path / "web"
    web.mkdir()
    (web / "a.txt").write_text("One.\n")
    (web / "b.jsonl").write_text('{"body": "Two."}\n')
    monkeypatch.setattr(context, "load_model", None)
    places = {"SHARDS": str(shards), "WEB": str(web)}
    for name, place in places.items():
        changes = {key: value and value.replace(name, place) for key, value in changes.items()}
        words = words.replace(name, place)
    assert until_sae(world, tmp_path / "run", **changes) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "run").exists()


def test_many_passes_of_a_recipe_are_not_for_a_stream(shards):
    flags = {"model": "toy", "corpora.text": "toy", "languages.target": "da", "sae.tokens": "5"}
    flags |= {"sae.stream": str(shards)}
    assert load_recipe("find", flags).sae.epochs == 1
    assert load_recipe("find", flags | {"sae.epochs": "2"}).sae.epochs == 2


def test_the_dry_run_counts_the_tokens_and_foretells_the_disk(world, shards, tmp_path, capsys):
    line = world.line(tmp_path / "run", **SHORT, sae__stream=f"{shards} hub:some/where")
    assert main([*line, "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{shards}" in said
    assert "hub:some/where" in said
    assert "text; read as far as 4,000 tokens take" in said
    assert (
        "32 steps of ~125 tokens over ~4,000 of sae.stream, whose token ids take up to 13.5 kB in glossae's cache"
        in said
    )
    assert not (tmp_path / "run").exists()
    assert main([*world.line(tmp_path / "run", **SHORT, sae__stream=tmp_path / "none.txt"), "--dry-run"]) == 2
    assert "sae.stream: " in capsys.readouterr().err


def test_what_is_shared_names_no_folder(world, shards):
    from glossae.recipe import shared_recipe

    stream = f"{shards},text=body hub:some/where"
    settings = {"model": "toy", "sae.stream": stream, "sae.tokens": "5", "corpora.train": "toy"}
    assert shared_recipe(load_recipe(world.recipe, settings)).sae.stream == "web,text=body hub:some/where"
