"""What docs/architecture.md promises: a stage, a site and a file format are each added in one place."""

import json
import sys
import types

import torch
from safetensors.torch import load_file, save_file

from glossae import flags, stages
from glossae.lm import ARCHITECTURES, Architecture, Place, Site, activations, batches, load, tokenize
from glossae.results import StageResults
from glossae.run import engine
from glossae.run.context import Inputs
from glossae.sae import Sae, SaeConfig
from glossae.sae.formats import locating
from glossae.stages.stage import Stage


def test_a_stage_is_its_file_and_its_name_in_the_list(world, tmp_path, monkeypatch):
    module = types.ModuleType("glossae.stages.counted")
    module.STAGE = Stage(
        name="counted",
        does="counting again",
        run=lambda context, _: StageResults(counted={"train": len(context.roles.corpora["train"])}),
        inputs=lambda _: Inputs(roles=("train",)),
        cost=lambda _: None,
        words=lambda _: "nothing",
    )
    monkeypatch.setitem(sys.modules, "glossae.stages.counted", module)
    with_it = ("corpora", "counted", *stages.STAGES[1:])
    for room in (stages, engine, flags):
        monkeypatch.setattr(room, "STAGES", with_it)
    assert world.run(tmp_path / "run", "--until", "counted") == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert found["counted"]["train"] == sum(
        row["sentences"] for row in found["corpora"] if row["role"] == "train"
    )


def test_a_site_is_its_place_in_the_architecture(tiny_model, tiny_corpus):
    known = ARCHITECTURES["gpt_neox"]
    place = Place("input_layernorm", "output")
    lm = load(str(tiny_model), architecture=Architecture(known.blocks, known.places | {"norm": place}))
    (seen,) = [next(activations(lm, batches(tokenize(lm, tiny_corpus), 512), [Site("norm", 0)]))]
    assert seen.sites[Site("norm", 0)].shape[1] == lm.width(Site("resid", 0))


def test_a_file_format_is_a_reader_and_its_files_name(tmp_path, monkeypatch):
    def read(path):
        sae = Sae(SaeConfig(d_in=6, latents=8, k=2))
        sae.load_state_dict(load_file(path))
        return sae

    monkeypatch.setitem(locating.BY_NAME, "other.safetensors", read)
    torch.manual_seed(0)
    made = Sae(SaeConfig(d_in=6, latents=8, k=2))
    save_file({name: t.clone() for name, t in made.state_dict().items()}, tmp_path / "other.safetensors")
    assert torch.equal(Sae.load(tmp_path).W_enc, made.W_enc)
