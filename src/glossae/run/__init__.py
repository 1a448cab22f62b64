"""Doing a recipe: stages in order, each skipped while its inputs stand, into a run folder."""

import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from glossae._version import __version__
from glossae.errors import GlossaeError
from glossae.files import fingerprint, write_json
from glossae.lm import clear_passes
from glossae.memory import enough_memory
from glossae.recipe import STAGES, Recipe, nearest
from glossae.report import write_report
from glossae.run.baselines_stage import baselines_stage
from glossae.run.context import (
    Context,
    check_given,
    check_grid,
    check_lengths,
    check_other_models,
    model_identity,
)
from glossae.run.controls_stage import check_controls, controls_stage
from glossae.run.early_stages import corpora_stage, probe_stage
from glossae.run.effects_stage import effects_stage
from glossae.run.evidence_stage import evidence_stage
from glossae.run.folder import PASSES, REPORT, RESULTS, RunFolder, check_folder, claimed
from glossae.run.grid_stage import grid_settings, grid_stage
from glossae.run.headlines import headlines
from glossae.run.knobs import continued_by, knob_of_run
from glossae.run.late_stages import features_stage
from glossae.run.layers import nearest_inputs
from glossae.run.panels import too_small
from glossae.run.parts import Parts
from glossae.run.results import assemble
from glossae.run.room import out_of_room
from glossae.run.sae_stage import baseline_jobs, sae_stage
from glossae.run.show import Report, Show
from glossae.run.stability_stage import stability_stage
from glossae.run.steering_stage import steering_stage
from glossae.run.tasks_stage import read_tasks, tasks_stage
from glossae.steering import lingua_version
from glossae.text import OPTIONAL, Task, build_roles, untested
from glossae.toy import toy_corpus

__all__ = [
    "continued_by",
    "knob_of_run",
    "run_recipe",
]

# enough for every stage to have thousands of tokens a language, and for the demo to stay within minutes

# how many times as long as the page takes to draw stages take before it is drawn between them
PAGE_EVERY = 10.0

WHAT = {
    "corpora": "counting sentences and tokens",
    "probe": "probing every layer",
    "grid": "training a grid of autoencoders",
    "sae": "training the autoencoder",
    "evidence": "testing which units are the language",
    "stability": "training with other seeds, and looking for the units again",
    "features": "finding the units",
    "baselines": "holding untrained autoencoders against it",
    "effects": "turning the units up and down",
    "steering": "steering what the model writes",
    "tasks": "setting downstream tasks",
    "controls": "turning other units up and down",
    "report": "drawing figures and writing the page",
}


def run_recipe(recipe: Recipe, out: Path, until: str | None = None, quiet: bool = False) -> Path:
    """Do a recipe, up to and including the stage `until` (and then the report of what there is).

    What can be refused is refused before anything is written.

    Returns:
        The path of the report.

    Raises:
        GlossaeError: bad text, model, site, setting or folder.
    """
    if until is not None and until not in STAGES:
        raise GlossaeError(f"--until: '{until}' is not a stage{nearest(until, STAGES)} ({', '.join(STAGES)})")
    check_folder(out, recipe)
    show = Show(quiet)
    roles = build_roles(
        recipe.corpora.sources,
        target=recipe.languages.target,
        reference=recipe.languages.reference,
        others=recipe.languages.others,
        seed=recipe.seed,
        limit=recipe.corpora.limit,
        panel_limit=recipe.corpora.panel_limit,
        test_limit=recipe.corpora.test_limit,
        trained=recipe.trained_languages,
        generators={"toy": toy_corpus},
        progress=lambda what: show.stage("fetch", what),
    )
    for line in untested(roles.sentences, recipe.languages.others, roles.left_out):
        show.note(line)
    check_controls(recipe, roles)
    tasks = read_tasks(recipe) if until in (None, "tasks", "report") else []
    check_other_models(recipe)
    context = Context(recipe, roles, RunFolder(out), show)
    if recipe.layer != "auto":
        context.lm.tap(context.site(recipe.layer))
    check_given(context)
    check_lengths(recipe, context.lm)
    if until is None or STAGES.index(until) >= STAGES.index("evidence"):
        for line in too_small(context):
            show.note(line)
    if recipe.grid.wanted and recipe.grid.model in (None, recipe.model):
        check_grid(recipe, context.lm, 0 if recipe.layer == "auto" else recipe.layer)
    with claimed(out, recipe) as folder:
        context.folder = folder
        if context.lm.passes is not None:
            clear_passes(out / PASSES, but=context.lm.passes.folder.name)
        _describe(context)
        pages = _Pages(context)
        done = _stages(context, until, tasks, pages)
        results = pages.write(done)
        report = pages.draw(WHAT["report"])
        # only a run that was cut off needs them again
        clear_passes(out / PASSES)
    if not quiet:
        for line in headlines(results, context.target, context.reference):
            print(line)
        print(f"report    {report}")
    return out / REPORT


class _Pages:
    """`results.json` and the page of a run, written after its stages and at its end.

    `results.json` is written after each stage that was carried out. To draw the page takes seconds, so between stages
    it is drawn only if the stages since the last page took at least `PAGE_EVERY` times as long as that page took to
    draw.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seconds_to_draw = 0.0
        self._seconds_since = 0.0

    def early(self, done: list[str], to_come: list[str], seconds: float) -> None:
        """Write what there is after a stage that took `seconds`, with other stages still to come."""
        self.write(done, to_come)
        self._seconds_since += seconds
        if self._seconds_since >= PAGE_EVERY * self._seconds_to_draw:
            self.draw("drawing the page of the stages so far")

    def write(self, done: list[str], to_come: Sequence[str] = ()) -> dict[str, Any]:
        """Write `results.json`, and into `run.json` which stages are still to come; return the former's contents."""
        folder = self._context.folder
        results = assemble(self._context.recipe, folder, done)
        folder.record["to_come"] = list(to_come)
        folder.save()
        write_json(folder.path / RESULTS, results)
        return results

    def draw(self, what: str) -> Path:
        """Draw the page of what was written; return its path."""
        started = time.perf_counter()
        with self._context.show.stage("report", what):
            page = write_report(self._context.folder.path)
        self._seconds_to_draw = time.perf_counter() - started
        self._seconds_since = 0.0
        return page


def _stages(context: Context, until: str | None, tasks: Sequence[Task], pages: _Pages) -> list[str]:
    """Run or skip each stage, with early pages in between; return the stages that are done."""
    recipe = context.recipe
    layer = 0 if recipe.layer == "auto" else recipe.layer
    prints: dict[str, str] = {}
    done: list[str] = []

    def carry_out(
        stage: str,
        work: Callable[[Report], dict[str, Any]],
        *roles: str,
        statistics: dict[str, Any] | None = None,
        **settings: Any,
    ) -> float:
        """The seconds that the stage took; 0 if it was done before. Its parts do not depend on `statistics`."""
        parts = context.fingerprint(*roles, **settings)
        context.parts[stage] = Parts.of(context.folder.path / stage, parts)
        prints[stage] = fingerprint({"parts": parts, **statistics}) if statistics else parts
        if context.folder.is_done(stage, prints[stage]):
            context.show.skipped(stage)
            done.append(stage)
            return 0.0
        context.folder.begin(stage)
        context.parts[stage].drop_others()
        started = time.perf_counter()
        with context.parts[stage].timed() as seconds:
            with context.show.stage(stage, WHAT[stage]) as report, enough_memory(out_of_room(stage)):
                summary = work(report)
            facts = _facts(seconds(), stage, summary)
        context.folder.finish(stage, prints[stage], summary, facts)
        done.append(stage)
        return time.perf_counter() - started

    plan: dict[str, Callable[[], float]] = {
        "corpora": lambda: carry_out(
            "corpora",
            lambda report: corpora_stage(context, report),
            *context.roles.corpora,
            counts=[vars(count) for count in context.roles.counts],
        ),
        "probe": lambda: probe(),
        "grid": lambda: carry_out(
            "grid",
            lambda report: grid_stage(context, layer, report),
            "train",
            "select",
            **grid_settings(recipe, layer),
        ),
        "sae": lambda: carry_out(
            "sae",
            lambda report: sae_stage(context, layer, report),
            "train",
            "select",
            **_of("sae"),
            more=sorted(baseline_jobs(recipe)),
            layer=layer,
            given=None if context.given is None else context.given.identity,
        ),
        "evidence": lambda: carry_out(
            "evidence",
            lambda report: evidence_stage(context, layer, report),
            "train",
            *(role for role in OPTIONAL if role in context.roles.corpora),
            *(() if "panel" in context.roles.corpora else ("select",)),
            **_of("evidence", "seeds"),
            sae=prints["sae"],
        ),
        "stability": lambda: carry_out(
            "stability",
            lambda report: stability_stage(context, layer, report),
            "train",
            seeds=recipe.evidence.seeds,
            evidence=prints["evidence"],
            sae=prints["sae"],
        ),
        "features": lambda: carry_out(
            "features",
            lambda report: features_stage(context, layer, report),
            "select",
            "test",
            **_of("features"),
            evidence=prints["evidence"],
            sae=prints["sae"],
            texts=recipe.report.texts,
        ),
        "baselines": lambda: carry_out(
            "baselines",
            lambda report: baselines_stage(context, layer, report),
            "train",
            "tune",
            "test",
            *(role for role in OPTIONAL if role in context.roles.corpora),
            *(() if "panel" in context.roles.corpora else ("select",)),
            **_of("baselines"),
            **_of("evidence", "seeds"),
            statistics={"bootstrap": recipe.effects.bootstrap},
            sae=prints["sae"],
        ),
        "effects": lambda: carry_out(
            "effects",
            lambda report: effects_stage(context, layer, report),
            "train",
            "select",
            "tune",
            "test",
            **_of("features"),
            **_of("effects", "controls", "controls_edits", "controls_on", "bootstrap"),
            statistics={"bootstrap": recipe.effects.bootstrap},
            # sentences that stood beside each other in a file are tested for correlation
            order=[context.roles.places[role] for role in ("test", "panel") if role in context.roles.places],
            # the neurons that latents are held against, and the panel, whatever the rule
            evidence=prints["evidence"],
            sae=prints["sae"],
        ),
        "controls": lambda: carry_out(
            "controls",
            lambda report: controls_stage(context, layer, report),
            draws=recipe.effects.controls,
            edits=recipe.effects.controls_edits,
            on=recipe.effects.controls_on,
            effects=prints["effects"],
        ),
        "tasks": lambda: carry_out(
            "tasks",
            lambda report: tasks_stage(context, layer, tasks, report),
            **_of("tasks"),
            rows_of={task.name: task.sha256 for task in tasks},
            unit=recipe.effects.unit,
            bootstrap=recipe.effects.bootstrap,
            features=prints["features"],
        ),
        "steering": lambda: carry_out(
            "steering",
            lambda report: steering_stage(context, layer, report),
            "train",
            "select",
            "test",
            **_of("steering"),
            features=prints["features"],
            statistics={"bootstrap": recipe.effects.bootstrap},
            lingua=lingua_version(),
        ),
    }

    def probe() -> float:
        roles, nearest = nearest_inputs(context)
        own = _of("probe") | {"models": [model_identity(name) for name in recipe.probe.models]}
        known = context.fingerprint("train", *roles, **own, **nearest)
        # a layer that is named after the rule has chosen one does not probe every layer again
        if recipe.layer != "auto" and not context.folder.is_done("probe", known):
            roles, nearest = (), {}
        return carry_out(
            "probe", lambda report: probe_stage(context, report), "train", *roles, **own, **nearest
        )

    def _of(group: str, *but: str) -> dict[str, Any]:
        # how often checkpoints are made changes nothing that comes out
        left_out = {"checkpoint", *but}
        return {group: {key: value for key, value in recipe.to_dict()[group].items() if key not in left_out}}

    planned = [stage for stage in plan if stage in recipe.stages]
    if until in planned:
        planned = planned[: planned.index(until) + 1]
    context.folder.record["to_come"] = planned
    for number, stage in enumerate(planned, start=1):
        seconds = plan[stage]()
        if stage == "probe" and recipe.layer == "auto":
            layer = int(context.folder.summary("probe")["probe"]["best_layer"])
        if seconds and number < len(planned):
            pages.early(done, planned[number:], seconds)
    return done


def _facts(seconds: float, stage: str, summary: dict[str, Any]) -> dict[str, Any]:
    """What `run.json` says of a stage: how long in all tries, how much memory, how fast."""
    # kibibytes on Linux, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    facts: dict[str, Any] = {
        "seconds": seconds,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
    }
    if stage in ("grid", "sae") and summary[stage]["train_tokens"]:
        facts["tokens_per_second"] = summary[stage]["train_tokens"] / seconds
    return facts


def _describe(context: Context) -> None:
    """Write into `run.json` what the numbers may depend on besides the recipe."""
    packages = ("torch", "transformers", "tokenizers", "numpy", "scikit-learn", "pandas", "matplotlib")
    context.folder.record |= {
        "glossae": __version__,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "device": ", ".join(sorted({str(weight.device) for weight in context.lm.model.parameters()})),
        "dtype": str(context.lm.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "seed": context.recipe.seed,
        "model_commit": context.lm.commit,
        "habits": context.folder.record.get("habits", {}) | {context.lm.name: context.habits},
        "text": {role: corpus.sha256 for role, corpus in context.roles.corpora.items()},
        "cuts": context.roles.cuts,
        "provenance": context.roles.provenance,
        "translations_may_straddle": context.roles.translations_may_straddle,
    }
    context.folder.save()
