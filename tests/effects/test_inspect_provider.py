"""Inspect's tasks run on a turned model."""

import gc

import pytest
import torch
from transformers import AutoModelForCausalLM

from effects_sae import SITE, random_sae
from glossae.effects import Knob, UnitSet
from glossae.errors import GlossaeError

pytest.importorskip("inspect_ai", reason="needs the extra inspect")
# what Inspect calls of tenacity, and what it leaves to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated"),
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]

PROMPTS = ("Pigen på øen så", "He bought a blue bicycle and")


@pytest.fixture(scope="module")
def knob(tiny_lm, tmp_path_factory):
    family = UnitSet("latents", random_sae(), (30, 2), "add", (0.25, -0.5), (2.0, 1.5))
    found = Knob.of(tiny_lm, SITE, family, dose=1.0, target="da", reference="en")
    return found.save(tmp_path_factory.mktemp("knob") / "knob.safetensors")


def model_of(folder, **arguments):
    from inspect_ai.model import GenerateConfig, get_model

    import glossae.inspect_provider  # noqa: F401 - as the entry point of an installed glossae does

    arguments = {"device": "cpu", "do_sample": False, "model_path": str(folder)} | arguments
    return get_model("glossae/tiny", config=GenerateConfig(max_tokens=8), memoize=False, **arguments)


def test_a_task_runs_on_the_turned_model(knob, tiny_model, tiny_tokenizer, tmp_path):
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import includes

    task = Task(dataset=[Sample(input=prompt, target="a") for prompt in PROMPTS], scorer=includes())
    model = model_of(tiny_model, knob=str(knob), dose=6)
    (log,) = eval(task, model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success", log.error
    assert log.results.scores[0].scored_samples == 2
    gc.collect()

    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    written = {}
    for turned in (False, True):
        for prompt in PROMPTS:
            batch = tiny_tokenizer(f"user: {prompt}\n", return_tensors="pt")
            ids = {name: batch[name] for name in ("input_ids", "attention_mask")}
            with Knob.load(knob).on(plain, dose=6 if turned else 0), torch.no_grad():
                found = plain.generate(**ids, do_sample=False, max_new_tokens=8, pad_token_id=0)
            new = found[0, ids["input_ids"].shape[1] :]
            written[prompt, turned] = tiny_tokenizer.decode(new, skip_special_tokens=True)
    for sample in log.samples:
        assert sample.output.completion == written[sample.input, True]
        assert sample.output.completion != written[sample.input, False]


def test_a_dose_without_a_knob_and_a_knob_of_another_model_are_refused(
    knob, tiny_model, tmp_path, make_model_folder
):
    with pytest.raises(GlossaeError, match="dose: is a knob's, and no knob is given"):
        model_of(tiny_model, dose=4)
    for wrong in ("abc", "nan", float("nan"), True):
        with pytest.raises(GlossaeError, match=rf"dose: {wrong!r} is not a finite number \(-M dose=X\)"):
            model_of(tiny_model, knob=str(knob), dose=wrong)
    with pytest.raises(GlossaeError, match="knob: 5 is not the name of a file"):
        model_of(tiny_model, knob=5)
    with pytest.raises(GlossaeError, match="any_model: 'yes' is neither true nor false"):
        model_of(tiny_model, knob=str(knob), any_model="yes")
    other = make_model_folder(tmp_path / "other", initializer_range=0.1)
    with pytest.raises(GlossaeError, match="knob: it is of tiny, and other has other weights"):
        model_of(other, knob=str(knob))
