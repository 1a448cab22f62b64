"""The paper's own recipe, by name: its models and corpora come over the network, and every stage is run on them.

The servers are on this machine, and what lies under the names there is small; nothing else is changed but how much
is drawn and resampled.
"""

import json

import pytest
from test_hub_data_sets import jsonl
from tiny_world import trained_tokenizer, write_model

from glossae.recipe import load_recipe
from glossae.reporting import write_report
from opus_server import archive
from toy_grammar import sentences, sentiment

# Pythia 1.4B's layer 16 has to be there
LAYERS = 17
SMALLER = {
    "probe.tokens": "300",
    "probe.seeds": "1",
    "probe.lambdas": "0.01,0.1",
    "effects.values": "-8,0,8",
    "effects.bootstrap": "10",
    "tasks.rows": "100",
    "tasks.values": "-8,8",
    "report.texts": "1",
}


def add_labelled_sets(hub):
    """The paper's three, under their names and with their columns; the rows are the toy's."""

    def rows(count, language):
        made = sentiment(count, 5, language)
        return {"text": [row.text for row in made], "label": [row.label for row in made]}

    danish, english = rows(160, "da"), rows(160, "en")
    for name, own in (("DDSC/angry-tweets", danish), ("SetFit/tweet_sentiment_extraction", english)):
        halves = {"train.jsonl": slice(0, 100), "test.jsonl": slice(100, None)}
        files = {file: jsonl(**{key: own[key][part] for key in own}) for file, part in halves.items()}
        hub.add(name, files, kind="datasets")
    splits = ("train", "val", "test", "full_train")
    card = "---\nconfigs:\n- config_name: da\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: da/{split}.jsonl\n" for split in splits
    )
    files = {f"da/{split}.jsonl": jsonl(**rows(100, "da")) for split in splits}
    hub.add("alexandrainst/scala", files | {"README.md": card + "---\n"}, kind="datasets")


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["published", "as_coded"])
def test_the_paper_by_name(hub, client, opus, tmp_path, protocol):
    recipe = load_recipe("paper")
    tokenizer = trained_tokenizer()
    for number, name in enumerate(recipe.probe.models):
        own = name == recipe.model
        folder = write_model(
            tmp_path / str(number), tokenizer, num_hidden_layers=LAYERS if own else 6, intermediate_size=48
        )
        hub.add(name, {file.name: file.read_bytes() for file in folder.iterdir()})
    pairs = [(pair["da"], pair["en"]) for pair in sentences(160, seed=3)]
    for corpus, part in (("NeuLab-TedTalks", pairs[:120]), ("ELRC_2923", pairs[120:])):
        opus.put(archive(part, corpus=corpus), corpus=corpus)
    add_labelled_sets(hub)
    out = tmp_path / "run"
    flags = [f"--{key}={value}" for key, value in (SMALLER | {"protocol": protocol}).items()]
    environment = {"GLOSSAE_OPUS_BASE": opus.address, "GLOSSAE_CACHE": str(tmp_path / "cache")}
    answer = client("run", "run", "paper", "--out", str(out), "--quiet", *flags, **environment)
    assert answer == {"status": 0, "said": ""}, client.noise
    record = json.loads((out / "run.json").read_text())
    assert record["model_commit"] == hub.repo(recipe.model).commit_of("main")
    assert set(record["provenance"]) == {"opus:NeuLab-TedTalks", "opus:ELRC_2923"}
    results = json.loads((out / "results.json").read_text())
    assert results["recipe"] == "paper"
    assert results["sae"]["layer"] == 16
    assert results["sae"]["latents"] == 8 * results["sae"]["d_in"]
    assert {cell["model"] for cell in results["probe"]["cells"]} == set(recipe.probe.models)
    assert {row["name"] for row in results["corpora"] if row["role"] == "test"} == {"opus:ELRC_2923"}
    assert results["published"]["next_token"]
    coded = protocol == "as_coded"
    assert bool(results["next_token"]["as_coded"]) == bool(results["probe"]["as_coded"]) == coded
    assert {row["task"] for row in results["tasks"]} == {"angry-tweets", "scala-da", "tweet-sentiment"}
    ways = {"controlled", "as_coded"} if coded else {"controlled"}
    assert {row["protocol"] for row in results["tasks"]} == ways
    # the client draws no page
    page = write_report(out).read_text(encoding="utf-8")
    assert "Appendix C, beside the paper" in page
    assert ("Switches" in page) == coded
