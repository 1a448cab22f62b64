"""`glossae run RECIPE --dry-run`: everything is said, and nothing is done."""

import json
import re
import shutil
import socket
import zipfile
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from glossae.cli import main
from glossae.plan import bytes_text, count_text, facts, machine, wrap_text
from glossae.plan.facts import ModelFacts
from glossae.plan.page import bos_lines
from glossae.plan.quantities import time_text
from glossae.recipe import shipped_recipes


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
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))
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


@pytest.mark.parametrize(
    "recipe",
    [
        *(name for name in shipped_recipes() if name != "find"),
        "find --model toy --target sv --text toy --languages.others da",
    ],
)
def test_every_recipe_is_planned_within_80_columns(dry, recipe):
    said = dry(recipe)
    assert all(len(line) <= 80 for line in said.splitlines() if str(Path.cwd().parent) not in line)
    # find measures what switching units off costs instead of a sweep over their values
    effects = "baselines" if recipe.startswith("find ") else "effects"
    for stage in ("corpora", "probe", "sae", "features", effects, "report"):
        assert f"\n  {stage}" in said
    assert "H100 80GB" in said
    assert "in all" in said


def test_a_language_that_will_not_be_tested_is_said(dry, tmp_path):
    for code in ("sv", "en"):
        (tmp_path / f"{code}.txt").write_text("".join(f"{code} {'x' * i}\n" for i in range(1, 99)))
    text = f"sv={tmp_path}/sv.txt,en={tmp_path}/en.txt"
    said = " ".join(dry(f"find --model toy --target sv --text {text} --languages.others da").split())
    assert "languages.others: da is neither tested nor measured: there is no text in it" in said
    assert "30 % of text" in said


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
    assert "toy:sentiment text; task toy-sentiment" in said


def test_languages_with_too_few_sentences_for_a_test_are_named(dry, tmp_path):
    def panel(**sizes):
        for code, size in sizes.items():
            lines = "".join(f"{code} sentence number {number} here.\n" for number in range(size))
            (tmp_path / f"{code}.txt").write_text(lines)
        words = " ".join(f"{code}={tmp_path / code}.txt" for code in sizes)
        recipe = tmp_path / "own.yaml"
        recipe.write_text(
            f"base: demo\nsae:\n  latents: 4096\nevidence:\n  minimum: 0.8\ncorpora:\n  panel: {words}\n"
        )
        return " ".join(dry(f"{recipe} --languages.others sv,de").split())

    # 0.8^51 is the first power under 0.05 / 4,096, and half of the text is searched
    said = panel(da=102, en=102, sv=101, de=102)
    assert (
        "panel: 101 sentences of sv are too few for a test of 4,096 units at q 0.05, which takes at least 102 (204 "
        "where they are translations of the others): not tested against sv"
    ) in said
    assert said.count("too few") == 1
    said = panel(da=102, en=101, sv=101, de=102)
    assert "panel: 101 sentences of en are too few" in said
    assert "of the others): no unit can be tested" in said
    assert said.count("too few") == 1


@pytest.mark.parametrize(
    ("adds", "said"),
    [
        (True, "bos auto: the tokenizer adds a BOS: on; checked by the loss at load"),
        (False, "bos auto: the tokenizer adds no BOS: off; checked by the loss at load"),
    ],
)
def test_bos_auto_is_what_the_tokenizer_does(tiny_model, tmp_path, adds, said):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
    if adds:
        token, number = tokenizer.bos_token, tokenizer.bos_token_id
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{token} $A", special_tokens=[(token, number)]
        )
    tokenizer.save_pretrained(tmp_path / "model")
    model = ModelFacts("own", "folder", None, None, tmp_path / "model")
    assert list(bos_lines("auto", model, tmp_path)) == [said]
    assert list(bos_lines(False, model, tmp_path)) == list(bos_lines(True, model, tmp_path)) == []


@pytest.mark.parametrize("content", [None, "not JSON", "[]", '{"tokenizer_class": 3}'])
def test_bos_auto_is_unknown_without_a_tokenizer_that_can_be_read(tmp_path, content):
    folder = None if content is None else tmp_path
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    (line,) = bos_lines("auto", ModelFacts("own", "hub", None, None, folder), tmp_path)
    assert line.startswith("bos auto: whether the tokenizer adds a BOS is unknown until the model is here;")


def test_both_losses_are_said_where_a_run_has_measured_them(tmp_path):
    def said(habits):
        (tmp_path / "run.json").write_text(json.dumps({"habits": habits and {"own": habits}}))
        return list(bos_lines("auto", ModelFacts("own", "hub", None, None, None), tmp_path))[1:]

    measured = {"bos": True, "loss_with_bos": 4.4211, "loss_without_bos": 8.9}
    assert said(measured) == [f"bos: measured in {tmp_path}: 4.42 nats per token with a BOS, 8.90 without"]
    # a tokenizer without a BOS has no such loss
    assert said(measured | {"loss_with_bos": None}) == []
    assert said(None) == []


def test_a_chat_is_said_and_its_template_counted(dry, world, tmp_path, capsys):
    folder = shutil.copytree(world.model, tmp_path / "model")
    line = f"demo --model {folder} --layer 1"
    assert "chat:" not in dry(line)
    assert main(["run", *line.split(), "--chat", "--dry-run"]) == 2
    assert "chat template; leave chat off" in capsys.readouterr().err
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[bot] "
    (folder / "chat_template.jinja").write_text(template)
    said = " ".join(dry(f"{line} --chat").split())
    assert "each text is read as a reply in a chat, and prompts are its user's" in said
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    before = len(tokenizer("[user] \n[bot] ", add_special_tokens=False)["input_ids"])
    assert f"tokens of the chat template before each: {before}" in said
    assert "bos auto" not in said


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
    assert "891,648 weights" in said


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
    monkeypatch.setattr(facts, "READ_BYTES", 1000)
    text = tmp_path / "large.tsv"
    text.write_text("no line of this is ever read\n" * 200)
    assert "counted by its size" in " ".join(dry(f"demo --corpora.train {text}").split())


def test_the_docs_figures_of_the_papers_run_are_those_of_its_dry_run(dry):
    """A change of the arithmetic has to be said in docs/paper.md, too."""
    page = Path(__file__).parents[2] / "docs" / "paper.md"
    said = " ".join(page.read_text(encoding="utf-8").split())
    printed = dry("paper --device cpu --dtype float32"), dry("paper")
    on_cpu, lines = printed[0], printed[1].splitlines()
    (heads,) = (line for line in lines if line.startswith("Time, ~"))
    machines = [head.strip() for head in (heads[12 + 16 * n : 28 + 16 * n] for n in range(4))]
    assert machines[2:] == ["A100 40GB", "H100 80GB"]

    def row(name):
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        return [line[12 + 16 * n : 28 + 16 * n].strip() for n in range(4)]

    total = re.search(r"Would be fetched \((.*) and more\)", printed[1])
    assert f"({total[1]} in all)" in said
    assert f"{row('in all')[2]} on an A100 and {row('in all')[3]} on an H100" in said
    assert row("memory")[2] == row("memory")[3]
    assert f"holds {row('memory')[2]} of GPU memory" in said
    (held,) = (line for line in on_cpu.splitlines() if line.startswith("  memory "))
    assert f"{held[12:].strip()} of memory" in said
    disk = re.search(r"Disk: ~ ([\d.]+ GB) in", on_cpu)
    assert f"{disk[1]} of disk in float32" in said
    probed = re.search(r"on each of (\d+) layers of (\d+) models", " ".join(on_cpu.split()))
    assert f"all {probed[1]} layers" in said
    assert "65,536 latents" in said
    assert "65,536 latents" in on_cpu


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
        ("demo --tasks.names mood", "tasks.names: 'mood': does not say where it is"),
        ("demo --model ./missing", "model: there is no folder ./missing"),
        ("demo --out here", "--out: here is not empty and is not a run"),
        ("demo --max_tokens 2000", "max_tokens: 2000 is more than the "),
        ("demo --effects.max_length 2000", "effects.max_length: 2000 is more than the "),
        (
            "demo --steering.prompts 2 --steering.tokens 2000",
            "steering.tokens: with steering.prompt_tokens: 2008 is more than the ",
        ),
        ("demo --layer 9", "layer: toy has the layers 0 to 3, and 9 is not one of them"),
        ("demo --sae.latents none --sae.expansion 1 --sae.k 129", "sae.k: 129 is more than the 128 latents"),
        ("demo --sae.from missing", "sae.from: missing: there is no such file or folder"),
        ("demo --grid.k 4 --grid.layer 4", "grid.layer: toy has the layers 0 to 3, and 4 is not one of them"),
        ("demo --grid.k 129 --grid.expansion 1", "grid.k: 129 is more than the 128 latents"),
    ],
)
def test_what_is_wrong_is_still_refused(capsys, line, message):
    Path("here").mkdir()
    Path("here/letter.txt").touch()
    assert main(["run", *line.split(), "--dry-run"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"glossae: {message}")
    assert len(captured.err.splitlines()) == 1


def test_its_quantities_are_numbers_for_programs(dry):
    said = json.loads(dry("demo --json --steering.prompts 20"))
    assert (said["model"], said["folder"]) == ("toy", "runs/demo")
    assert {row["kind"]: row["where"] for row in said["inputs"]} == {"model": "folder", "text": "file"}
    assert said["text"]["train"]["da"]["sentences"] == 1400
    here = said["machines"][0]
    assert here["machine"] == "this machine"
    assert here["seconds"] == pytest.approx(sum(row["seconds"]["this machine"] for row in said["stages"]))
    assert here["fits"] == (here["needed_bytes"] < 0.85 * here["memory_bytes"])
    assert said["disk_bytes"] >= sum(row["written_bytes"] for row in said["stages"])
    unknown = json.loads(dry("find --model a/b --target da --text opus:nothing --json"))
    assert (unknown["stages"], unknown["machines"], unknown["text"]["train"]) == (None, None, None)
    assert [row["bytes"] for row in unknown["inputs"]] == [None, None]


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
    assert list(wrap_text("  head", "one two")) == ["  head  one two"]
    assert all(len(line) <= 80 for line in wrap_text("  head", "word " * 60))
