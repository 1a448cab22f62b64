"""The paper's own recipe, by name: its models and corpora come over the network, and every stage is run on them.

The servers are on this machine, and what lies under the names there is small; nothing else is changed but how much
is drawn and resampled.
"""

import json

import pytest
from tiny_world import trained_tokenizer, write_model

from opus_server import archive
from sprog.recipe import load_recipe
from sprog.report import write_report
from sprog.toy import sentences

# Pythia 1.4B's layer 16 has to be there
LAYERS = 17
SMALLER = {
    "probe.tokens": "300",
    "probe.seeds": "1",
    "probe.lambdas": "0.01,0.1",
    "effects.values": "-8,0,8",
    "effects.bootstrap": "10",
    "report.texts": "1",
}


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
    out = tmp_path / "run"
    flags = [f"--{key}={value}" for key, value in (SMALLER | {"protocol": protocol}).items()]
    environment = {"SPROG_OPUS_BASE": opus.address, "SPROG_CACHE": str(tmp_path / "cache")}
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
    # the client draws no page
    page = write_report(out).read_text(encoding="utf-8")
    assert "Appendix C, beside the paper" in page
    assert ("Switches" in page) == coded
