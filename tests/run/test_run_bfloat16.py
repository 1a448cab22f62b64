"""A CPU that multiplies bfloat16 fast is used, where the model's loss stays what it is in float32."""

import importlib
import json

import pytest

context = importlib.import_module("glossae.run.context")


@pytest.mark.parametrize(
    ("fast", "costs", "dtype"), [(False, 1.0, "float32"), (True, 1.0, "bfloat16"), (True, -1.0, "float32")]
)
def test_passes_are_in_bfloat16_where_the_cpu_is_fast_and_the_loss_the_same(
    world, tmp_path, monkeypatch, fast, costs, dtype
):
    monkeypatch.setattr(context, "fast_bfloat16", lambda: fast)
    monkeypatch.setattr(context, "HALF_COSTS", costs)
    assert world.run(tmp_path, "--until", "sae") == 0
    record = json.loads((tmp_path / "run.json").read_text())
    (habits,) = record["habits"].values()
    assert record["dtype"] == dtype
    assert habits["bfloat16"] is (dtype == "bfloat16")
    if not fast:
        assert habits["loss_in_bfloat16"] is None
    else:
        own = habits["loss_with_bos"] if habits["bos"] else habits["loss_without_bos"]
        assert habits["loss_in_bfloat16"] == pytest.approx(own, abs=0.05)
        assert habits["loss_in_bfloat16"] != own
    # the next command of the run goes on in the same
    assert world.run(tmp_path, "--until", "evidence") == 0
    assert json.loads((tmp_path / "run.json").read_text())["dtype"] == dtype
