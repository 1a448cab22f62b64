"""The paper splices attention sinks: a run of its protocol says what that costs."""

import json

import numpy as np
import pytest
import torch
from results_contract import breaches, contract
from tiny_world import trained_tokenizer, write_model

import glossae
from glossae.lm import load
from glossae.sae import read_sae
from glossae.text import build_roles

SMALL = {"layer": 1, "languages__others": "sv", "sae__epochs": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model in whose residual stream an `e` by itself is far larger than other tokens."""
    folder = write_model(tmp_path_factory.mktemp("sinks") / "model", trained_tokenizer())
    lm = load(str(folder))
    (sink,) = lm.tokenizer("e", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[sink] *= 60
    lm.model.save_pretrained(folder)
    return folder


def test_the_papers_protocol_says_what_spliced_sinks_cost(world, model, tmp_path, capsys):
    out = tmp_path / "run"
    assert world.run(out, "--until", "sae", model=model, protocol="published", **SMALL) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "are spliced, as in the paper" in line]
    results = json.loads((out / "results.json").read_text())
    assert breaches({"sae": results["sae"]}, {"sae": contract("da")["sae"]}) == []
    losses = results["sae"]["sinks"]
    assert set(losses) == {"da", "en"}
    assert len(told) == 2
    run, lm, sae = glossae.open_run(out), load(str(model)), read_sae(out / "sae")
    (limit,) = [
        row["largest"] for row in run.record["habits"][run.recipe.model]["sinks"] if row["layer"] == 1
    ]
    roles = build_roles(
        run.recipe.corpora.sources, target="da", reference="en", others=run.recipe.languages.others, seed=0
    )

    def summed(ids, place):
        """Summed loss with the reconstruction where `place` says so."""

        def splice(_module, _args, output):
            x = output[0] if isinstance(output, tuple) else output
            here = place(x.norm(dim=-1))[..., None]
            x = torch.where(here, sae(x.reshape(-1, x.shape[-1])).view_as(x), x)
            return (x, *output[1:]) if isinstance(output, tuple) else x

        handle = lm.blocks[1].register_forward_hook(splice)
        with torch.no_grad():
            logits = lm.model(torch.tensor([ids])).logits[0, :-1]
        handle.remove()
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))

    for code in ("da", "en"):
        texts = [
            lm.tokenizer(sentence.text, add_special_tokens=False)["input_ids"][:64]
            for sentence in roles.corpora["select"].only(code).sentences
        ]
        count = sum(len(ids) - 1 for ids in texts)
        own = losses[code]
        assert (own["sentences"], own["tokens"]) == (len(texts), count)
        for what, place in (("spliced", lambda n: n > 0), ("left_alone", lambda n: n <= limit)):
            assert own[what] == pytest.approx(sum(summed(ids, place) for ids in texts) / count, rel=1e-3)
        assert abs(own["spliced"] - own["left_alone"]) > 1e-3
        assert np.isclose(own["spliced"], results["sae"]["ce"][code]["spliced"], rtol=1e-3)
        (line,) = [line for line in told if f"the loss in {code} is {own['spliced']:.2f}" in line]
        assert f"{own['left_alone']:.2f} with the sinks left alone" in line


def test_where_sinks_are_left_alone_or_there_are_none_nothing_is_said(world, model, tmp_path, capsys):
    for name, changes in (
        ("controlled", {"model": model, "protocol": "controlled"}),
        ("none", {"protocol": "published"}),
    ):
        out = tmp_path / name
        assert world.run(out, "--until", "sae", **SMALL, **changes) == 0
        assert "are spliced" not in capsys.readouterr().err
        assert json.loads((out / "results.json").read_text())["sae"]["sinks"] == {}
