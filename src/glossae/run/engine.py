"""Run a recipe's stages in order, skipping those whose inputs and files have not changed."""

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from glossae import meter, ranks
from glossae._version import __version__
from glossae.corpora import Generator, Roles, build_roles, untested_languages
from glossae.errors import GlossaeError
from glossae.files import fingerprint, guarded, noting, written_elsewhere
from glossae.lm import clear_passes, locate, look_up
from glossae.memory import enough_memory
from glossae.paper import published_figures
from glossae.plan import this_machine
from glossae.recipe import Recipe, load_recipe, nearest, settings_by_key, shared_results, value_text
from glossae.record import RECIPE, RESULTS
from glossae.results import SCHEMA_VERSION, EvidenceResult, GridResult, Results, SaeResult, StageResults
from glossae.run.context import TOY, Context, Progress, Show, longest_text
from glossae.run.folder import PARTS, PASSES, REPORT, Parts, Run, RunFolder, check_folder, claimed
from glossae.run.tracking import Tracking, check_tracker
from glossae.stages import STAGES, load_stages, stage_of
from glossae.toy import toy_corpus

# stages take at least so many seconds, and so many times as long as the page takes to draw, before it is drawn
# between them
PAGE_AFTER = 30.0
PAGE_EVERY = 10.0


@dataclass(frozen=True)
class Ran:
    """What a run came to.

    Attributes:
        folder: the run's folder.
        results: the contents of its `results.json`.
        lines: what the terminal says of it at the end.
        stages: the stages that it went through: whether each was done before, and the seconds that it took.
        throughput: of the stages that were not done before; None if all were.
    """

    folder: Path
    results: Results
    lines: list[str]
    stages: dict[str, tuple[bool, float]]
    throughput: meter.Throughput | None

    def to_json(self) -> dict[str, Any]:
        """What `glossae run --json` prints."""
        own, found = self.results, headline_numbers(self.results)
        return {
            "recipe": own.recipe,
            "model": own.model,
            "folder": str(self.folder),
            "page": str(self.folder / REPORT),
            "results": str(self.folder / RESULTS),
            "stages": [
                {"stage": name, "done_before": kept, "seconds": seconds}
                for name, (kept, seconds) in self.stages.items()
            ],
            "throughput": None if self.throughput is None else dataclasses.asdict(self.throughput),
            **found,
        }


def run_recipe(
    recipe: Recipe,
    out: Path,
    until: str | None = None,
    quiet: bool = False,
    again: bool = False,
    track: str = "none",
) -> Ran:
    """Run a recipe, up to and including the stage `until`, and then write the report of what there is.

    All checks run before the first file is written.

    Args:
        recipe: the settings.
        out: the run's folder.
        until: the last stage; None: all. Later stages that are done stay, and so do their results.
        quiet: show no progress.
        again: replace finished stages whose inputs have changed.
        track: the tracker that numbers are sent to: `trackio`, `wandb` or `none`.

    Raises:
        GlossaeError: bad text, model, site, setting or folder; or a finished stage would be replaced, and not `again`.
    """
    planned = stages_to_run(recipe, until)
    check_tracker(track)
    check_folder(out, recipe)
    found = RunFolder(out)
    if not again:
        refuse_another_model(found, recipe)
    show = Show(quiet)
    if (count := ranks.world()[1]) > 1 and not quiet:
        show.note(f"ranks: {count} processes do this run together")
    with show.waiting("text: reading, cleaning and dividing it into roles"):
        roles = roles_of(recipe, progress=lambda what: show.stage("fetch", what))
    for line in untested_languages(roles.sentences, recipe.languages.others, roles.left_out):
        show.note(line)
    for role, number in roles.alike.items():
        show.note(
            f"corpora.{role}: {number:,} of {sum(roles.sentences[role].values()):,.0f} sentences have the words of a "
            "sentence in an earlier role, with other numbers or punctuation"
        )
    context = Context(recipe, roles, found, show)
    check_stages(context, planned)
    if not again:
        # later stages too: the folder's recipe is about to change
        refuse_replacing(context, stages_to_run(recipe))
    for name in planned:
        for line in stage_of(name).notes(context):
            show.note(line)
    with Tracking(track, recipe, out, show.note) as tracking, claimed(out, recipe) as folder:
        context.folder = folder
        if context.lm.passes is not None:
            clear_passes(out / PASSES, but=context.lm.passes.folder.name)
        _describe(context)
        pages = _Pages(context)
        seconds = _run_stages(context, planned, pages, tracking)
        throughput = _throughput(context, [name for name in planned if seconds[name]])
        results = pages.write([*planned, *_still_done(context, stages_to_run(recipe)[len(planned) :])])
        pages.draw(stage_of("report").doing(recipe))
        # only a run that was cut off needs them again
        clear_passes(out / PASSES)
    lines = headlines(results, context.target, context.reference)
    if throughput is not None:
        lines.append(f"throughput {throughput.words}")
    lines.append(f"report    {out / REPORT}")
    if not any(seconds.values()):
        lines.insert(0, f"complete  {out}: every stage was done before")
    stages = folder.record["stages"]
    took = {name: (not seconds[name], float(stages[name]["seconds"])) for name in planned}
    return Ran(out, results, lines, took, throughput)


def check_stages(context: Context, planned: Sequence[str]) -> None:
    """Load the model, and refuse what no stage can do, before anything is written.

    Raises:
        GlossaeError: bad text of a stage's own, model, site or setting.
    """
    recipe = context.recipe
    for name in planned:
        stage_of(name).prepare(context)
    context.check_sources()
    check_other_models(recipe)
    with context.show.waiting(f"model: loading {recipe.model}, and looking for attention sinks"):
        longest_text(recipe, context.lm)
    if recipe.layer != "auto":
        context.lm.tap(context.site)
    for stage in load_stages():
        stage.check(context)


def assist(recipe: Recipe, out: Path) -> None:
    """Take part in the stages of a run that rank 0 does with the same recipe, until it has ended; prints nothing.

    Rank 0 alone decides which stages are run and which parts of them are there, and writes the run.

    Raises:
        GlossaeError: a rank has failed, or has other text or another model.
    """
    with ExitStack() as stack:
        context = None
        for job in ranks.jobs():
            if context is None:
                # only now: what has to be fetched was fetched by rank 0, which has made the folder, too
                if not out.is_dir():
                    raise GlossaeError(
                        f"--out: rank {ranks.world()[0]} does not see the folder {out.absolute()}: start every rank in "
                        "the same folder, on a disk that all see"
                    )
                stack.enter_context(guarded(out))
                stack.enter_context(written_elsewhere(out, but=out / PASSES))
                context = Context(recipe, roles_of(recipe), RunFolder(out), Show(quiet=True, silent=True))
            context.folder.record = job["record"]
            context.parts = {name: Parts(out / name / PARTS / own) for name, own in job["parts"].items()}
            _joint(context, job["stage"], lambda _: None)


def _joint(context: Context, name: str, progress: Progress) -> StageResults:
    """What a stage comes to; if torchrun started several ranks, each of them calls this.

    Raises:
        GlossaeError: as the stage, or a rank has failed, or has other text or another model.
    """
    with ranks.alone():
        known = [context.base["model"], context.habits]
    text = {role: corpus.sha256 for role, corpus in context.roles.corpora.items()}
    # streams of equal sizes may differ, which nothing later would notice
    ranks.agree("text or model", fingerprint([known, text, context.trained_text().settings]))
    return stage_of(name).run(context, progress)


def refuse_another_model(folder: RunFolder, recipe: Recipe) -> None:
    """Refuse another model or language for finished stages, before anything of it is fetched.

    Raises:
        GlossaeError: as `refuse_replacing`.
    """
    if any(key == "model" or key.startswith("languages.") for key in _changes(folder, recipe)):
        _refuse(folder, recipe, [name for name in STAGES if folder.stands(name)])


def refuse_replacing(context: Context, planned: Sequence[str]) -> None:
    """Refuse to do a finished stage again because a setting, the text, the model or glossae itself has changed.

    A stage that builds on one which is not done, or was done anew since, is no longer of use, and is not asked for.

    Raises:
        GlossaeError: there are such stages; the line names the settings and the stages.
    """
    folder = context.folder
    changed: list[str] = []
    pieces: dict[str, None] = {}
    for name in planned:
        if not folder.stands(name):
            continue
        try:
            inputs = stage_of(name).inputs(context)
            replaced = {what.partition("/")[0] for what in inputs.after} & {*changed}
            if replaced or folder.has_changed(name, context.fingerprints(inputs)[1]):
                changed.append(name)
                pieces |= dict.fromkeys(folder.changed_pieces(name, context.pieces(inputs)))
        except GlossaeError:
            # what it is made from is not done: whether it changes is known only then
            continue
    _refuse(folder, context.recipe, changed, list(pieces))


def _changes(folder: RunFolder, recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """The settings that differ from those of a folder, by dotted key: the folder's value and the recipe's."""
    if not (folder.path / RECIPE).is_file():
        return {}
    before, now = (settings_by_key(each) for each in (load_recipe(folder.path / RECIPE), recipe))
    return {key: (before[key], now[key]) for key in now if before[key] != now[key] and key != "description"}


# what a stage depends on that is no setting, by its name among `Context.pieces`; the text of a role has the role's key
_PIECES = {
    "model": "the files of model",
    "dtype": "the dtype that auto is on this device",
    "habits": "the BOS, chat template or attention sinks found in model",
    "given": "the files of sae.from",
    "stream": "the text of sae.stream",
    "models": "the files of probe.models",
    "model_of_grid": "the files of grid.model",
    "rows_of": "the rows of tasks.names",
    "counts": "the sentences left out of the text",
    "order": "the order of sentences in corpora.test or corpora.panel",
    "lingua": "the version of lingua",
    "schema_version": "the version of results.json",
}


def _refuse(folder: RunFolder, recipe: Recipe, stages: Sequence[str], pieces: Sequence[str] = ()) -> None:
    if not stages:
        return
    changes, version = _changes(folder, recipe), folder.record.get("glossae")
    said = [f"{key} {value_text(before)}, now {value_text(now)}" for key, (before, now) in changes.items()]
    of = f"{'; '.join(said[:3])}{f'; and {len(said) - 3} more settings' if len(said) > 3 else ''}"
    more = [] if version in (None, __version__) else [f"glossae {version}, now {__version__}"]
    # these settings change the text
    other_text = any(key == "seed" or key.startswith(("corpora.", "languages.")) for key in changes)
    for piece in pieces:
        of_text = piece.startswith("corpora.")
        name = f"the text of {piece}" if of_text else _PIECES.get(piece, "")
        # a setting that was changed says more than that its files are others
        explained = any(key in name.split() for key in changes) or (
            other_text and (of_text or piece in ("habits", "counts", "order", "rows_of"))
        )
        if name and not explained:
            more.append(f"{name} changed")
    of = "; ".join([*([of] if said else []), *more]) or "other text, model, device or code"
    named = ", ".join(stages) if len(stages) < 4 else f"{', '.join(stages[:2])} and {len(stages) - 2} more"
    raise GlossaeError(
        f"--out: {folder.path} has finished stages ({named}) of other inputs ({of}): add --again to replace them, or "
        "give another --out"
    )


def roles_of(recipe: Recipe, generators: Mapping[str, Generator] | None = None, **progress: Any) -> Roles:
    """Read, clean and divide a recipe's text.

    Args:
        recipe: names the text.
        generators: what makes text out of nothing, by name, besides `toy`.
        progress: see `build_roles`.

    Raises:
        GlossaeError: as `build_roles`.
    """
    return build_roles(
        recipe.corpora.sources,
        target=recipe.languages.target,
        reference=recipe.languages.reference,
        others=recipe.languages.others,
        seed=recipe.seed,
        limit=recipe.corpora.limit,
        panel_limit=recipe.corpora.panel_limit,
        test_limit=recipe.corpora.test_limit,
        trained=recipe.trained_languages,
        generators={"toy": toy_corpus, **(generators or {})},
        **progress,
    )


def stages_to_run(recipe: Recipe, until: str | None = None) -> list[str]:
    """The stages that a run goes through before its report.

    Raises:
        GlossaeError: there is no stage `until`.
    """
    if until is not None and until not in STAGES:
        raise GlossaeError(f"--until: '{until}' is not a stage{nearest(until, STAGES)} ({', '.join(STAGES)})")
    *stages, report = STAGES
    end = STAGES.index(until or report) + 1
    return [name for name in stages[:end] if stage_of(name).asked(recipe)]


def check_other_models(recipe: Recipe) -> None:
    """Look for the models besides the run's own, so that a missing one is found before any work.

    Of a model on the hub the configuration is fetched, but not the weights.

    Raises:
        GlossaeError: a folder is not there, or holds no model; the hub has none, or none that can be used.
    """
    for key, name in [pair for stage in load_stages() for pair in stage.models(recipe)]:
        try:
            if name != TOY and locate(name) is None:
                look_up(name)
        except GlossaeError as error:
            raise GlossaeError(f"{key}: {str(error).removeprefix('model: ')}") from error


def headlines(results: StageResults, target: str, reference: str) -> list[str]:
    """The few numbers that end a run in the terminal; what is unsound about it comes first."""
    lines = [line for stage in load_stages() for line in stage.lines(results, target, reference)]
    return sorted(lines, key=lambda line: not line.startswith("unsound"))


def headline_numbers(results: StageResults) -> dict[str, Any]:
    """The numbers of `headlines`, for programs; what was not done is not in it."""
    found: dict[str, Any] = {}
    if results.probe:
        found["layer"] = results.probe.layer_used
    if results.sae:
        names = ("latents", "k", "fvu", "dead_fraction", "unsound")
        found["sae"] = {name: results.sae.to_json()[name] for name in names}
    if isinstance(results.evidence, EvidenceResult):
        found["claims"] = [row.to_json() for row in results.evidence.claims]
        found["replication"] = [row.to_json() for row in results.evidence.replication]
    if results.features:
        found["rule"] = results.features.rule
        found["units"] = [row.unit for row in results.features.units]
    if results.next_token:
        found["selectivity"] = [row.to_json() for row in results.next_token.selectivity]
    return found


class _Pages:
    """`results.json` and the page of a run, written after its stages and at its end.

    `results.json` is written after each stage that was carried out. To draw the page takes seconds, so between stages
    it is drawn only if the stages since the last page took at least `PAGE_AFTER` seconds, and `PAGE_EVERY` times as
    long as that page took to draw.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seconds_to_draw = 0.0
        self._seconds_since = 0.0

    def early(self, done: list[str], to_come: list[str], seconds: float) -> None:
        """Write what there is after a stage that took `seconds`, with other stages still to come."""
        self.write(done, to_come)
        self._seconds_since += seconds
        if self._seconds_since >= PAGE_AFTER and self._seconds_since >= PAGE_EVERY * self._seconds_to_draw:
            self.draw("drawing the page of the stages so far")

    def write(self, done: list[str], to_come: Sequence[str] = ()) -> Results:
        """Write `results.json`, and into `run.json` its hash and which stages are still to come; return the former."""
        folder = self._context.folder
        recipe = self._context.recipe
        # results.json depends on no machine, so it names no folder of one
        results: Results = shared_results(assemble(recipe, folder, done), recipe)
        folder.write_results(results, to_come)
        return results

    def draw(self, what: str) -> None:
        """Draw the page of what was written."""
        started = time.perf_counter()
        with self._context.show.stage("report", what) as progress:
            stage_of("report").run(self._context, progress)
        self._seconds_to_draw = time.perf_counter() - started
        self._seconds_since = 0.0


def _run_stages(context: Context, planned: list[str], pages: _Pages, tracking: Tracking) -> dict[str, float]:
    """Run or skip each stage, with early pages in between; return the seconds of each, 0 if it was done before."""
    context.folder.record["to_come"] = planned
    seconds: dict[str, float] = {}
    kept: list[str] = []
    for number, name in enumerate(planned, start=1):
        seconds[name] = run_stage(context, name)
        if not seconds[name]:
            kept.append(name)
        if seconds[name]:
            tracking.stage(name, seconds[name], context.folder.summary(name), context.folder.path / name)
        if seconds[name] and number < len(planned):
            pages.early(planned[:number], planned[number:], seconds[name])
    if elsewhere := _made_elsewhere(context, kept):
        context.show.note(elsewhere)
    return seconds


def _throughput(context: Context, stages: Sequence[str]) -> meter.Throughput | None:
    """How fast stages were that were carried out just now, also written into `run.json`; None if no model ran."""
    total, dtype = meter.Meter(), str(context.lm.model.dtype).removeprefix("torch.")
    for name in stages:
        total.add(meter.Meter(**context.folder.record["stages"][name]["work"]))
    if not total.model_flops:
        return None
    machine = this_machine(context.recipe.device, dtype)
    # products with an encoder may be in either precision
    products = total.training_sae_flops / max(machine.model_rate, machine.float_rate)
    best = total.training_model_flops / machine.model_rate + max(
        products, total.sae_bytes / machine.bandwidth
    )
    rate, read = total.model_flops / total.seconds, total.read_token_blocks + total.stored_token_blocks
    found = meter.Throughput(
        model_flops_per_second=rate,
        peak_flops_per_second=machine.model_rate,
        dtype=dtype,
        mfu=rate / machine.model_rate,
        training_roofline=best / total.training_seconds if total.training_seconds else None,
        stored=total.stored_token_blocks / read if read else None,
    )
    context.folder.record["throughput"] = dataclasses.asdict(found) | {"words": found.words}
    context.folder.save()
    return found


def _made_elsewhere(context: Context, kept: Sequence[str]) -> str | None:
    """One line on the stages that were kept and made under another torch, device, or number of threads or ranks."""
    now, others, differ = context.environment, [], dict[str, None]()
    for name in kept:
        before = context.folder.record["stages"][name].get("made_under")
        own = [what for what in now if isinstance(before, dict) and before.get(what, now[what]) != now[what]]
        if own:
            others.append(name)
            differ |= dict.fromkeys(f"{what} {before[what]}, now {now[what]}" for what in own)
    if not others:
        return None
    return (
        f"kept, and made with {'; '.join(differ)}: {', '.join(others)} (their last digits may depend on it; "
        "another --out makes them anew)"
    )


def _still_done(context: Context, later: Sequence[str]) -> list[str]:
    """The stages after the last one that were done before and stay of use, so that `--until` loses no results."""
    kept: list[str] = []
    for name in later:
        try:
            # only what was done is asked for its inputs, which may have to be fetched
            done = context.folder.stands(name)
            if done and context.folder.is_done(name, context.fingerprints(stage_of(name).inputs(context))[1]):
                kept.append(name)
        except GlossaeError:
            # a stage that it is made from is not done
            break
    context.folder.confirm(kept)
    return kept


def run_stage(context: Context, name: str) -> float:
    """Run a stage unless it is done; return the seconds that it took, 0 if it was done before."""
    stage, folder = stage_of(name), context.folder
    inputs = stage.inputs(context)
    of_parts, whole = context.fingerprints(inputs)
    parts = context.parts[name] = Parts.of(folder.path / name, of_parts)
    if folder.is_done(name, whole):
        folder.confirm([name])
        context.show.skipped(name)
        return 0.0
    folder.begin(name, stage.keep)
    parts.drop_others()
    started = time.perf_counter()
    too_large = f"{name}: there is not enough memory; lower {stage.lower}"
    with parts.timed() as seconds, noting() as written, meter.metered() as work:
        with context.show.stage(name, stage.doing(context.recipe)) as progress, enough_memory(too_large):
            job = {
                "stage": name,
                "record": folder.record,
                "parts": {each: own.folder.name for each, own in context.parts.items()},
            }
            with ranks.called(job):
                summary = _joint(context, name, progress)
        facts = _facts(seconds(), summary.sae or summary.grid)
    facts["work"] = dataclasses.asdict(work)
    facts["model_flops_per_second"] = work.model_flops / work.seconds
    facts |= {"made_under": context.environment, "inputs": context.pieces(inputs)}
    folder.finish(name, whole, summary, facts, inputs.after, written)
    return time.perf_counter() - started


def _facts(seconds: float, trained: SaeResult | GridResult | None) -> dict[str, Any]:
    """What `run.json` says of a stage: how long in all tries, how much memory, how fast."""
    # kibibytes on Linux, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    facts: dict[str, Any] = {
        "seconds": seconds,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
    }
    if trained and trained.train_tokens:
        facts["tokens_per_second"] = trained.train_tokens / seconds
    return facts


def assemble(recipe: Recipe, folder: RunFolder | Run, done: list[str]) -> Results:
    """The contents of `results.json`; what was not done is None."""
    results = Results(
        recipe=recipe.name,
        protocol=recipe.protocol,
        model=recipe.model,
        seed=recipe.seed,
        schema_version=SCHEMA_VERSION,
        published=published_figures() if recipe.name == "paper" else None,
    ).joined(*(folder.summary(name) for name in done))
    for name in done:
        results = results.joined(stage_of(name).adds(recipe, results))
    return results


def _describe(context: Context) -> None:
    """Write into `run.json` what the numbers may depend on besides the recipe."""
    packages = ("torch", "transformers", "tokenizers", "numpy", "scikit-learn", "pandas", "matplotlib")
    context.folder.record |= {
        "glossae": __version__,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "device": ", ".join(sorted({str(weight.device) for weight in context.lm.model.parameters()})),
        "dtype": str(context.lm.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "made_under": context.environment,
        "seed": context.recipe.seed,
        "model_commit": context.lm.commit,
        "habits": context.folder.record.get("habits", {}) | {context.lm.name: context.habits},
        "text": {role: corpus.sha256 for role, corpus in context.roles.corpora.items()},
        "cuts": context.roles.cuts,
        "provenance": context.roles.provenance,
        "translations_may_straddle": context.roles.translations_may_straddle,
    }
    context.folder.save()
