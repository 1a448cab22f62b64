"""llama.cpp with an exported knob computes what transformers does with the knob, and vllm-lens reads and adds it.

vLLM itself is not run: of vllm-lens, the class that reads what a request says is, and the function that adds it.
"""

import ast
import ctypes
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from glossae.effects import Knob, UnitSet, export_knob
from glossae.lm import Site, load
from glossae.units import Directions
from tiny_families import LAYERS, WIDTH, write_family
from tiny_gguf import write_gguf

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

IDS = [5, 9, 200, 17, 33, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_tokenizer):
    changes = {"head_dim": 8, "use_sliding_window": False, "tie_word_embeddings": False}
    return write_family(tmp_path_factory.mktemp("model"), "qwen2", tiny_tokenizer, **changes)


@pytest.fixture(scope="module", params=[("resid", 1), ("mlp.out", 2), ("mlp.hidden", 1)])
def knob(request, folder):
    lm, site = load(str(folder)), Site(*request.param)
    rows = torch.randn(2, lm.width(site), generator=torch.Generator().manual_seed(5))
    family = UnitSet(
        "two", Directions(["a", "b"], rows, torch.zeros(2), site=site), (0, 1), "add", (0, 0), (1, 2)
    )
    return Knob.of(lm, site, family, dose=2.0, target="da", reference="en")


@torch.no_grad()
def logits(folder, knob=None):
    lm, ids = load(str(folder)), torch.tensor([IDS])
    if knob is None:
        return lm.model(ids, attention_mask=torch.ones_like(ids)).logits[0].numpy()
    with knob.on(lm):
        return lm.model(ids, attention_mask=torch.ones_like(ids)).logits[0].numpy()


def test_llama_cpp_with_the_control_vector_computes_what_the_turned_model_does(
    folder, knob, tmp_path, tiny_tokenizer
):
    llama_cpp = pytest.importorskip("llama_cpp")
    from gguf import GGUFReader

    model = write_gguf(tmp_path / "tiny.gguf", folder, tiny_tokenizer, 320)
    out = export_knob(knob, tmp_path / "knob.gguf", "gguf", lm=load(str(folder)))
    # as llama.cpp's own tools read the file: layer 1 comes first
    data = np.zeros((LAYERS, WIDTH), dtype=np.float32)
    for tensor in GGUFReader(out).tensors:
        data[int(tensor.name.removeprefix("direction.")) - 1] = tensor.data
    llama = llama_cpp.Llama(str(model), n_ctx=64, n_batch=64, n_threads=1, logits_all=True, verbose=False)

    def found():
        llama.reset()
        llama.eval(IDS)
        return np.array(llama.scores[: len(IDS)])

    plain = found()
    np.testing.assert_allclose(plain, logits(folder), rtol=1e-3, atol=2e-3)
    pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    assert llama_cpp.llama_set_adapter_cvec(llama.ctx, pointer, data.size, WIDTH, 1, LAYERS) == 0
    turned = found()
    np.testing.assert_allclose(turned, logits(folder, knob), rtol=1e-3, atol=2e-3)
    assert np.abs(turned - plain).max() > 0.1


def test_vllm_lens_reads_the_file_and_adds_what_the_knob_adds(folder, knob, tmp_path):
    vllm_lens = pytest.importorskip("vllm_lens")
    out = export_knob(knob, tmp_path / "knob.json", "vllm", lm=load(str(folder)))
    vectors = [vllm_lens.SteeringVector.model_validate(one) for one in json.loads(out.read_text())]
    # its workers' file imports vLLM, its function that adds does not need it
    source = Path(importlib.util.find_spec("vllm_lens").origin).with_name("_worker_ext.py").read_text()
    wanted = [
        node
        for node in ast.parse(source).body
        if getattr(node, "name", "") in ("norm_match", "_apply_steering")
    ]
    names = {"torch": torch, "SteeringVector": vllm_lens.SteeringVector}
    exec(compile(ast.Module(wanted, []), "_worker_ext.py", "exec"), names)
    lm = load(str(folder))

    def add(_module, _args, output):
        hidden = (output[0] if isinstance(output, tuple) else output)[0].clone()
        names["_apply_steering"](vectors, knob.site.layer, hidden, 0, len(hidden), 0, hidden)
        return (hidden[None], *output[1:]) if isinstance(output, tuple) else hidden[None]

    handle = lm.blocks[knob.site.layer].register_forward_hook(add)
    with torch.no_grad():
        found = lm.model(torch.tensor([IDS])).logits[0].numpy()
    handle.remove()
    np.testing.assert_allclose(found, logits(folder, knob), rtol=1e-4, atol=1e-4)
