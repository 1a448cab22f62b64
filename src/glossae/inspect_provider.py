"""A model provider for Inspect (UK AI Security Institute): a plain model turned by a knob.

    inspect eval TASK --model glossae/MODEL -M knob=danish.safetensors -M dose=4

Inspect loads this file for every model, by the entry point group `inspect_ai`: it imports nothing heavy.
"""

import math
from typing import Any

from inspect_ai.model import GenerateConfig, ModelAPI, modelapi

from glossae.errors import GlossaeError


@modelapi(name="glossae")
def provider() -> type[ModelAPI]:
    """Inspect's `hf` with a knob on its model.

    Its arguments (`-M`) are `knob`, the file of a knob (without one, the model is as it is); `dose`, another one than
    the file's; `any_model`, as for `Knob.on`; and all of `hf`, such as `device`, `batch_size` and `do_sample`. A knob
    that cannot be read, or is of another model, is a GlossaeError.
    """
    # Inspect has no public name for its provider of transformers' models
    from inspect_ai.model._providers.hf import HuggingFaceAPI

    class TurnedAPI(HuggingFaceAPI):
        def __init__(
            self,
            model_name: str,
            base_url: str | None = None,
            api_key: str | None = None,
            config: GenerateConfig = GenerateConfig(),  # noqa: B008 - as in Inspect
            # Inspect makes numbers and other things of what looks like them
            knob: Any = None,
            dose: Any = None,
            any_model: Any = False,
            **model_args: Any,
        ) -> None:
            if knob is None and dose is not None:
                raise GlossaeError("dose: is a knob's, and no knob is given (-M knob=FILE)")
            if knob is not None and not isinstance(knob, str):
                raise GlossaeError(f"knob: {knob!r} is not the name of a file (-M knob=FILE)")
            if dose is not None and (type(dose) not in (int, float) or not math.isfinite(dose)):
                raise GlossaeError(f"dose: {dose!r} is not a finite number (-M dose=X)")
            if not isinstance(any_model, bool):
                raise GlossaeError(f"any_model: {any_model!r} is neither true nor false")
            super().__init__(model_name, base_url, api_key, config, **model_args)
            if knob is not None:
                self.model = _Turned(self.model, knob, dose, any_model)

    return TurnedAPI


class _Turned:
    """A model as far as `hf` uses it, with `generate` turned."""

    def __init__(self, model: Any, knob: str, dose: float | None, any_model: bool) -> None:
        from glossae.effects import Knob
        from glossae.lm import wrap_model

        found = Knob.load(knob)
        self._knob = found if dose is None else found.turned(dose)
        self._lm, self._any_model = wrap_model(model), any_model
        self._knob.check(self._lm, any_model=any_model)

    @property
    def device(self) -> Any:
        return self._lm.device

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        with self._knob.on(self._lm, any_model=self._any_model):
            return self._lm.model.generate(*args, **kwargs)
