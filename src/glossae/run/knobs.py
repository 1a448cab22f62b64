"""A run's units as a knob, and a model turned by one."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from glossae.effects import FAMILIES, Knob, Steering, UnitSet
from glossae.errors import GlossaeError
from glossae.lm import (
    FoundSinks,
    LanguageModel,
    Site,
    continue_tokens,
    load,
    prompt_ids,
    resolve_device,
    resolve_dtype,
    with_sinks,
)
from glossae.record import RECORD
from glossae.run.folder import KNOBS, SAE, Run, open_run
from glossae.sae import read_sae
from glossae.toy import toy_model
from glossae.units import Kind

# the KL on reference text, nats a token, up to which the dose is chosen that writes most of the target language
MOST_KL = 1.0
# for units of length 1 setting is projecting
_SAME: dict[Steering, tuple[Steering, ...]] = {"project_out": ("project_out", "set")}


def knob_of_run(place: Path, kind: Kind, operation: Steering, *, dose: float | None, whole: bool) -> Knob:
    """What a run has found, as a knob.

    Args:
        place: the run's folder.
        kind: of units.
        operation: what is done with them; neurons and directions that are set are projected to, which is the same.
        dose: how far; None takes the one of the stage steering.
        whole: whether a whole encoder may be written.

    Raises:
        GlossaeError: it is no run, it has not come so far, it has no such units, or no dose is known.
    """
    run = open_run(place)
    if kind == "latent" and operation == "project_out":
        raise GlossaeError(
            "--operation: project_out: what is known of latents are their means, not those of components along them: "
            "take add or set"
        )
    if kind == "latent" and dose is None:
        # the model takes long to load
        dose = _chosen_dose(run, kind, operation)
    knob = (
        _of_latents(run, operation, whole)
        if kind == "latent"
        else _of_steering(run, kind).with_operation(operation)
    )
    return knob.turned(_chosen_dose(run, kind, knob.family.operation or operation) if dose is None else dose)


def continued_by(
    knob: Knob,
    model: str,
    prompts: Sequence[str],
    *,
    new_tokens: int,
    sample: int | None = None,
    device: str = "auto",
    any_model: bool = False,
) -> Iterator[tuple[str, str, str]]:
    """Each prompt with its continuation by the model as it is, and turned.

    Raises:
        GlossaeError: the model cannot be loaded or is another than the knob's, or a prompt has no room in it.
    """
    lm = _loaded(model, device)
    knob.check(lm, any_model=any_model)
    begun = replace(lm, bos=knob.bos, chat=knob.chat)
    ids = [np.array(prompt_ids(begun, prompt), dtype=np.int64) for prompt in prompts]
    written = []
    for turned in (False, True):
        with knob.on(lm, any_model=any_model) if turned else nullcontext():
            found = continue_tokens(lm, ids, new_tokens=new_tokens, seed=sample)
        written.append([text.strip() for text in lm.tokenizer.batch_decode(found, skip_special_tokens=True)])
    yield from zip(prompts, *written, strict=True)


def model_of_run(run: Run, device: str = "auto") -> LanguageModel:
    """The run's model, with the beginning of texts and the attention sinks that `run.json` has.

    Raises:
        GlossaeError: the model cannot be loaded.
    """
    recipe, habits = run.recipe, run.record.get("habits", {}).get(run.recipe.model)
    lm = _loaded(recipe.model, device)
    if habits is None:
        return lm
    lm = replace(lm, bos=habits["bos"], chat=tuple(habits.get("chat", ())))
    return (
        lm if recipe.by_the_paper else with_sinks(lm, [FoundSinks.from_json(row) for row in habits["sinks"]])
    )


def _loaded(model: str, device: str) -> LanguageModel:
    where = resolve_device(device)
    place = str(toy_model()) if model == "toy" else model
    return replace(load(place, device=where, dtype=resolve_dtype("auto", where)), name=model)


def _chosen_dose(run: Run, kind: Kind, operation: Steering) -> float:
    """The dose that writes most of the target language at a KL of at most `MOST_KL`, by the stage steering."""
    steering = run.results.steering
    arms = [
        arm
        for arm in (steering.arms if steering else [])
        if arm.kind == kind
        and arm.operation in _SAME.get(operation, (operation,))
        and arm.value is not None
        and arm.kl <= 1.05 * MOST_KL
    ]
    if not arms:
        raise GlossaeError(
            f"--dose: is missing, and the run has not searched one for {kind}s with {operation} (the stage steering, "
            "--steering.prompts 200, does): give one, such as --dose 4"
        )
    return max(arms, key=lambda arm: (arm.success, -arm.kl)).value or 0.0


def _of_steering(run: Run, kind: Kind) -> Knob:
    """The neurons or the direction that the stage steering wrote."""
    steered = "steering" in run.record.get("stages", {})
    for name in sorted(FAMILIES) if steered else ():
        file = f"steering/{KNOBS}/{name}.safetensors"
        if run.has(file) and (knob := Knob.load(run.file(file))).kind == kind:
            return knob
    raise GlossaeError(
        f"{run.path}: this run has no {kind}s to write: they come from the stage steering (--steering.prompts 200, and "
        "steering.families with them)"
    )


def _of_latents(run: Run, operation: Steering, whole: bool) -> Knob:
    if "features" not in run.record.get("stages", {}):
        raise GlossaeError(
            f"{run.path}: this run has selected no latents yet: it has not reached the stage features"
        )
    stored = run.read("features/ranges.json")
    units = tuple(int(unit) for unit in stored["reference_means"])
    if not units:
        raise GlossaeError(f"{run.path}: this run has selected no latent: there is nothing to turn")
    low, high = (
        tuple(float(stored[name][str(unit)]) for unit in units)
        for name in ("reference_means", "target_means")
    )
    text = run.record.get("text", {}).get("select")
    if text is None:
        raise GlossaeError(
            f"{run.path / RECORD}: does not say on which text the latents were chosen: run the recipe again"
        )
    sae, recipe = read_sae(run.file(SAE)), run.recipe
    return Knob.of(
        model_of_run(run, "cpu"),
        Site(recipe.site, sae.config.layer or 0),
        UnitSet(f"latents_{operation}", sae, units, operation, low, high),
        dose=1.0,
        target=recipe.languages.target,
        reference=recipe.languages.reference,
        origin={"recipe": recipe.name, "text": text},
        whole=whole,
    )
