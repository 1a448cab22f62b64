"""`sprog run RECIPE --dry-run`: everything is said, and nothing is done."""

import shutil
import socket
import zipfile
from pathlib import Path

import pytest

from sprog.cli import main
from sprog.plan import machine
from sprog.plan.wording import bytes_text, count_text, time_text, wrapped
from sprog.recipe import shipped_recipes


@pytest.fixture(autouse=True)
def closed(monkeypatch, tmp_path):
    """No network, empty caches, an empty working folder, and short measurements."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(machine, "MEASURING", 0.001)
    monkeypatch.setenv("SPROG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def dry(capsys, tmp_path):
    """A function that does a dry run and returns what it said; nothing may have been written."""

    def run(line):
        before = everything(tmp_path)
        assert main(["run", *line.split(), "--dry-run"]) == 0
        assert everything(tmp_path) == before
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


@pytest.mark.parametrize("recipe", shipped_recipes())
def test_every_recipe_is_planned_within_80_columns(dry, recipe):
    said = dry(recipe)
    assert all(len(line) <= 80 for line in said.splitlines() if str(Path.cwd().parent) not in line)
    for stage in ("corpora", "probe", "sae", "features", "effects", "report"):
        assert f"\n  {stage}" in said
    assert "H100 80GB" in said
    assert "in all" in said


def test_the_paper_would_be_fetched(dry):
    said = dry("paper")
    assert "EleutherAI/pythia-1.4b" in said
    assert "2.93 GB" in said
    assert "1,414,647,808 weights" in said
    assert "65,536 latents, k 32" in said
    (row,) = (line for line in said.splitlines() if line.startswith("  opus:NeuLab-TedTalks"))
    assert "unknown until fetched" in row
    assert "9.6 MB of text unpacked" in said
    assert "120 layers of 7 models" in " ".join(said.split())


def test_the_papers_tasks_are_planned(dry):
    said = " ".join(dry("paper").split())
    for place, name in (
        ("hub:DDSC/angry-tweets", "angry-tweets"),
        ("hub:alexandrainst/scala,config=da", "scala-da"),
        ("hub:SetFit/tweet_sentiment_extraction", "tweet-sentiment"),
    ):
        assert f"{place} unknown until fetched text; task {name}" in said
    assert "3 of up to 4,000 rows, 13 arms, as controlled" in said
    assert "as controlled and as coded" in " ".join(dry("paper --protocol as_coded").split())
    without = dry("paper --tasks.names none")
    assert "angry-tweets" not in without
    assert "\n  tasks" not in without
    assert "angry-tweets" not in dry("paper --until effects")


def test_labelled_files_are_looked_at(dry, tmp_path):
    rows = tmp_path / "rows.tsv"
    rows.write_text("En god dag.\tgood\n" * 40)
    said = " ".join(dry(f"demo --tasks.names mood:da={rows}").split())
    assert f"{rows} {bytes_text(rows.stat().st_size)} text; task mood" in said
    said = " ".join(dry("demo --tasks.names toy-sentiment:da").split())
    assert "toy:sentiment text; task toy-sentiment, written by a grammar" in said


def test_the_papers_grid_is_planned(dry):
    said = " ".join(dry("paper").split())
    assert (
        "48 autoencoders of 2,048 latents on mlp.hidden of EleutherAI/pythia-14m, width 512, in one pass"
        in said
    )
    assert "  grid " not in dry("paper --grid.k none --grid.l1 none")
    assert "  grid " not in dry("paper --until probe")
    # it does not run the probes' models, and is counted itself
    said = dry("pythia-70m --grid.k 4 --until grid")
    assert "4 autoencoders of 8,192 latents on mlp.hidden, width 2,048" in " ".join(said.split())
    assert "  sae " not in said


def test_a_grid_on_a_model_that_nobody_knows(dry):
    said = dry("demo --grid.k 4 --grid.model somebody/something --grid.layer 2")
    assert "grid on somebody/something: memory and time are unknown until fetched" in " ".join(said.split())
    assert "in all" in said


def test_the_demo_needs_nothing(dry):
    said = dry("demo")
    assert "Nothing would be fetched." in said
    assert "trained once" in said
    assert "1,186,560 weights" in said


def test_a_model_and_text_of_ones_own(dry, tiny_model, tmp_path):
    text = tmp_path / "text.tsv"
    text.write_text("".join(f"Saetning nummer {i} her.\t{i % 2}\n" for i in range(400)))
    said = dry(
        f"pythia-14m --model {tiny_model} --layer 1 --sae.latents 64 --sae.expansion none --sae.k 4 "
        f"--corpora.train {text} --corpora.test none --device cpu --until sae --out there"
    )
    assert "Nothing would be fetched." in said
    assert f" {bytes_text(text.stat().st_size)}" in said
    assert "mlp.hidden at layer 1, width 48: 64 latents, k 4" in " ".join(said.split())
    assert "effects" not in said
    assert "H100" not in said
    assert "in there" in " ".join(said.split())


def test_an_unknown_model_is_unknown_until_fetched(dry):
    said = dry("paper --model somebody/something")
    assert "memory and time are unknown until fetched" in " ".join(said.split())
    assert "in all" not in said


def test_another_revision_has_the_shape_but_not_the_size(dry):
    said = dry("pythia-14m --model EleutherAI/pythia-14m@step1000")
    (row,) = (line for line in said.splitlines() if "@step1000" in line)
    assert "14,067,712 weights" in " ".join(said.split())
    assert "unknown until fetched" in row
    assert "in all" in said


def test_a_corpus_that_nobody_knows(dry):
    said = dry("pythia-14m --corpora.train opus:Nowhere")
    assert "Would be fetched" in said
    assert "memory and time are unknown until fetched" in " ".join(said.split())


def test_what_is_in_the_caches_is_not_fetched(dry, tiny_model, tmp_path):
    archive = tmp_path / "cache" / "opus" / "Talks" / "v1" / "da-en.txt.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("Talks.da-en.da", "Det er en linje.\n" * 500)
        file.writestr("Talks.da-en.en", "That is a line.\n" * 500)
    repository = tmp_path / "hub" / "models--some--model"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(tiny_model, repository / "snapshots" / commit)
    said = dry("pythia-14m --model some/model --layer 1 --corpora.train opus:Talks --corpora.test none")
    assert "Nothing would be fetched." in said
    assert "cached model" in said
    assert "cached text" in said
    assert "in all" in said


def test_a_data_set_of_the_hub_is_named(dry):
    said = dry("demo --corpora.train hub:some/set,split=train")
    assert "hub:some/set,split=train" in said
    assert "unknown until fetched" in said


def test_a_large_file_is_counted_by_its_size(dry, tmp_path, monkeypatch):
    from sprog.plan import texts

    monkeypatch.setattr(texts, "READ_BYTES", 1000)
    text = tmp_path / "large.tsv"
    text.write_text("no line of this is ever read\n" * 200)
    assert "counted by its size" in " ".join(dry(f"demo --corpora.train {text}").split())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nosuch", "unknown recipe 'nosuch'"),
        ("demo --sae.q 3", "unknown flag '--sae.q'"),
        ("demo --sae.k 0", "--sae.k: must be at least 1, got '0'"),
        ("demo --until nowhere", "--until: unknown stage 'nowhere'"),
        ("demo --corpora.train missing.tsv", "corpora.train: missing.tsv: no such file"),
        ("demo --corpora.train what", "corpora.train: 'what': is not a source"),
        ("demo --corpora.train hub:a/b,q=1", "corpora.train: 'hub:a/b,q=1': there is no key 'q'"),
        ("demo --tasks.names mood:da=missing.tsv", "tasks.names: missing.tsv: no such file or folder"),
        ("demo --tasks.names mood", "tasks.names: mood: does not say where it is"),
        ("demo --model ./missing", "model: there is no folder ./missing"),
        ("demo --layer 9", "layer: toy has the layers 0 to 3, and 9 is not one of them"),
        ("demo --sae.latents none --sae.expansion 1 --sae.k 129", "sae.k: 129 is more than the 128 latents"),
        ("demo --grid.k 4 --grid.layer 4", "grid.layer: toy has the layers 0 to 3, and 4 is not one of them"),
        ("demo --grid.k 129 --grid.expansion 1", "grid.k: 129 is more than the 128 latents"),
    ],
)
def test_what_is_wrong_is_still_refused(capsys, line, message):
    assert main(["run", *line.split(), "--dry-run"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"sprog: {message}")
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("content", ["[]", "{", '{"hidden_size": 8}'])
def test_a_broken_folder(capsys, dry, tmp_path, content):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text(content)
    (folder / "model.safetensors").write_bytes(b"\x05")
    if content == '{"hidden_size": 8}':
        assert "memory and time are unknown" in " ".join(dry(f"demo --model {folder}").split())
        return
    assert main(["run", "demo", "--model", str(folder), "--dry-run"]) == 2
    assert "config.json: cannot be read" in capsys.readouterr().err


def test_numbers_for_people():
    assert [bytes_text(x) for x in (12, 1500, 2.93e9, 999.9e6)] == ["12 B", "1.5 kB", "2.93 GB", "1,000 MB"]
    assert [count_text(x) for x in (12.3, 1885000, 1000)] == ["~12", "~1,880,000", "~1,000"]
    assert [time_text(x) for x in (0.1, 80, 600, 9000, 10**6)] == [
        "1 s",
        "80 s",
        "10 min",
        "2.5 h",
        "12 days",
    ]
    assert list(wrapped("  head", "one two")) == ["  head  one two"]
    assert all(len(line) <= 80 for line in wrapped("  head", "word " * 60))
