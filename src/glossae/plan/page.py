"""A dry run as text of at most 80 columns."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.plan.at_hand import hub_cache
from glossae.plan.habits import bos_lines, chat_line, chat_tokens
from glossae.plan.machine import LAUNCH, SHARE, Machine, listed_gpus, this_machine
from glossae.plan.models import ModelFacts, Shape, model_facts
from glossae.plan.quantities import sentences_of, tokens_of
from glossae.plan.stages import Counting
from glossae.plan.tasks import task_arms, task_facts
from glossae.plan.tested import untested_lines
from glossae.plan.texts import Amounts, SourceFacts, role_amounts, source_facts
from glossae.plan.tokenizers import bytes_per_token
from glossae.plan.wording import UNKNOWN, bytes_text, count_text, time_text, wrapped
from glossae.plan.work import Work
from glossae.recipe import STAGES, Recipe
from glossae.text import SHARES, untested

# a name, its bytes (None: unknown until fetched; 0: none to speak of), and what it is
_Row = tuple[str, float | None, str]
# of a device's memory, the share that may be counted on: drivers and what is freed in pieces take the rest
USABLE = 0.85


def dry_run(recipe: Recipe, out: Path, until: str | None = None) -> str:
    """What a run of `recipe` into `out` would read, fetch, hold and cost. Nothing is fetched or written.

    Raises:
        GlossaeError: a source or a folder that the recipe names is not there or cannot be read, or the model has
            no such layer.
    """
    stages = _to_do(recipe, until)
    probed = [recipe.model, *(recipe.probe.models if "probe" in stages else ())]
    on = [recipe.grid.model or recipe.model] if "grid" in stages else []
    models = {name: model_facts(name) for name in dict.fromkeys((*probed, *on))}
    own = models[recipe.model]
    sources = source_facts(recipe, bytes_per_token(own))
    roles = role_amounts(recipe, sources)
    about = f"{recipe.name}: {recipe.description}" if recipe.description else recipe.name
    lines = list(wrapped("", about, gap=0))
    lines += ["Dry run: nothing is fetched, run or written; ~ marks arithmetic.", ""]
    labelled = task_facts(recipe) if "tasks" in stages else []
    lines += _inputs(models, [*(source for facts in sources.values() for source in facts), *labelled])
    lines += ["", *_roles(roles, sources)]
    before = chat_tokens(own) if recipe.chat else 0
    for line in [chat_line(before)] if recipe.chat else bos_lines(recipe.bos, own, out):
        lines += wrapped("  ", line, gap=0)
    known = {role: amounts for role, amounts in roles.items() if amounts is not None}
    if len(known) == len(roles):
        sentences = {role: {code: a.sentences for code, a in own.items()} for role, own in known.items()}
        for line in untested(sentences, recipe.languages.others):
            lines += wrapped("  ", line, gap=0)
    if own.shape is None or len(known) < len(roles):
        lines += ["", *wrapped("", f"Stages ({', '.join(stages)}): memory and time are {UNKNOWN}.", gap=0)]
        return "\n".join(lines)
    counting = Counting(recipe, own.shape, known, before or 0)
    if "evidence" in stages:
        for line in untested_lines(counting):
            lines += wrapped("  ", line, gap=0)
    grid = models[on[0]].shape if on else None
    _check(counting, grid)
    probes = {name: models[name] for name in dict.fromkeys(probed)}
    works = {stage: work for stage, work in _works(counting, probes, grid).items() if stage in stages}
    machines = [this_machine(recipe.device, recipe.dtype)]
    machines += [gpu for gpu in listed_gpus(recipe.dtype) if recipe.device != "cpu"]
    lines += ["", *_stages(counting, works, probes, grid, machines[0])]
    if on and grid is None:
        lines += wrapped("  grid    ", f"on {on[0]}: memory and time are {UNKNOWN}, and left out below")
    lines += ["", *_table(works, machines)]
    lines += ["", *_how(counting, works, machines, out)]
    return "\n".join(lines)


def _to_do(recipe: Recipe, until: str | None) -> tuple[str, ...]:
    """The stages that a run would go through; it ends with the report in any case."""
    stages = STAGES[: STAGES.index(until or STAGES[-1]) + 1]
    stages = tuple(stage for stage in stages if stage in recipe.stages)
    return stages if "report" in stages else (*stages, "report")


def _check(counting: Counting, grid: Shape | None) -> None:
    """Refuse what the run would refuse once the models are loaded.

    Raises:
        GlossaeError: there is no such layer or autoencoder, or there are fewer latents than k.
    """
    recipe, layers = counting.recipe, counting.shape.layers
    if recipe.layer != "auto" and recipe.layer >= layers:
        raise GlossaeError(
            f"layer: {recipe.model} has the layers 0 to {layers - 1}, and {recipe.layer} is not one of them"
        )
    given = recipe.sae.from_
    if given is not None and not given.startswith("hub:") and not path_named(given).exists():
        raise GlossaeError(f"sae.from: {given}: there is no such file or folder")
    if given is None and recipe.sae.activation != "relu" and recipe.sae.k > counting.latents:
        raise GlossaeError(f"sae.k: {recipe.sae.k} is more than the {counting.latents} latents")
    if grid is None:
        return
    layer = recipe.layer if recipe.grid.layer is None else recipe.grid.layer
    if layer != "auto" and layer >= grid.layers:
        raise GlossaeError(
            f"grid.layer: {recipe.grid.model or recipe.model} has the layers 0 to {grid.layers - 1}, "
            f"and {layer} is not one of them"
        )
    latents = recipe.grid.size(grid.site_width(recipe.site))
    if recipe.grid.k and max(recipe.grid.k) > latents:
        raise GlossaeError(f"grid.k: {max(recipe.grid.k)} is more than the {latents} latents")


def _works(counting: Counting, models: dict[str, ModelFacts], grid: Shape | None) -> dict[str, Work]:
    probe = counting.comparing() if counting.compares_layers else Work()
    own = counting.shape
    others = {name: facts.shape for name, facts in models.items() if name != counting.recipe.model}
    before = 0.0
    for name, shape in {counting.recipe.model: own, **others}.items():
        if shape is None or not counting.penalties:
            continue
        # the run's own model stays, and the one before goes only when the next is there
        held = 0 if shape is own else own.weights + before
        before = 0 if shape is own else shape.weights
        probe += counting.probe(name, shape, held)
    return {
        "corpora": counting.corpora(),
        "probe": probe,
        **({} if grid is None else {"grid": counting.grid(grid)}),
        "sae": counting.sae(),
        "evidence": counting.evidence(),
        "stability": counting.stability(),
        "features": counting.features(),
        **({"baselines": counting.baselines()} if "baselines" in counting.recipe.stages else {}),
        **({"effects": counting.effects()} if counting.recipe.effects.sweep else {}),
        **({"steering": counting.steering()} if counting.recipe.steering.wanted else {}),
        "tasks": counting.tasks(),
        "controls": counting.controls(),
        "report": counting.report(),
    }


def _inputs(models: dict[str, ModelFacts], sources: list[SourceFacts]) -> Iterator[str]:
    """What is here, and what would be fetched."""
    here: list[_Row] = []
    fetched: list[_Row] = []
    for model in models.values():
        weights = "" if model.shape is None else f", {model.shape.weights:,} weights"
        row = (model.name, model.size, f"model{weights}")
        if model.where == "hub":
            fetched.append(row)
        else:
            kind = "cached model" if model.where == "cache" else "model in a folder"
            here.append((model.name, model.size, f"{kind}{weights}"))
    for source in {source.name: source for source in sources}.values():
        note = f"{'cached ' if source.where == 'cache' else ''}text{'; ' if source.note else ''}{source.note}"
        if source.where == "net":
            fetched.append((source.name, source.size, note))
        else:
            here.append((source.name, source.size, note))
    if fetched:
        total = sum(size or 0 for _, size, _ in fetched)
        more = " and more" if any(size is None for _, size, _ in fetched) else ""
        yield f"Would be fetched ({bytes_text(total) + more if total else UNKNOWN}):"
        yield from _rows(fetched)
    else:
        yield "Nothing would be fetched."
    if here:
        yield "Is here:"
        yield from _rows(here)


def _rows(rows: list[_Row]) -> Iterator[str]:
    for name, size, what in rows:
        # what is shipped has no size to speak of
        amount = UNKNOWN if size is None else bytes_text(size) if size else ""
        yield from wrapped(f"  {name:<25} {amount:>9}", what)


def _roles(roles: dict[str, Amounts | None], sources: dict[str, list[SourceFacts]]) -> Iterator[str]:
    cuts = {"select": "30 % of train", "test": "half of select", "tune": "20 % of select"}
    if "text" in sources:
        cuts = {role: f"{100 * share:g} % of text" for role, share in SHARES.items()}
        cuts["train"] = f"the rest of {' '.join(source.name for source in sources['text'])}"
    yield f"{'Text':<10}{'sentences':>12}{'tokens':>14}   from"
    for role, amounts in roles.items():
        origin = " ".join(s.name for s in sources[role]) if role in sources else cuts[role]
        if amounts is None:
            yield from wrapped(f"  {role:<8}", f"{UNKNOWN}   {origin}")
            continue
        numbers = f"{count_text(sentences_of(amounts)):>12}{count_text(tokens_of(amounts)):>14}   "
        yield from wrapped(f"  {role:<8}{numbers}", origin, gap=0)


def _stages(
    counting: Counting,
    works: dict[str, Work],
    models: dict[str, ModelFacts],
    grid: Shape | None,
    machine: Machine,
) -> Iterator[str]:
    """What each stage does, by numbers."""
    recipe = counting.recipe
    probed = list(models.values())
    layers = sum(facts.shape.layers for facts in probed if facts.shape is not None)
    unknown = [facts.name for facts in probed if facts.shape is None]
    layer = "the layer that the probes choose" if recipe.layer == "auto" else f"layer {recipe.layer}"
    select, test = (tokens_of(counting.roles[role]) for role in ("select", "test"))
    size = counting.d_in * counting.latents
    what = {
        "corpora": "counts the text's sentences and tokens",
        "probe": "; ".join(
            [
                *(
                    ["the nearest other language on each layer, then short autoencoders at 4 layers at most"]
                    if counting.compares_layers
                    else []
                ),
                *(
                    [
                        f"{counting.penalties} {'penalties' if counting.penalties > 1 else 'penalty'} x "
                        f"{recipe.probe.seeds} seeds on each of {layers} layers of {len(probed)} "
                        f"model{'s' if len(probed) > 1 else ''}, {count_text(counting.probe_tokens)} tokens"
                    ]
                    if counting.penalties
                    else []
                ),
            ]
        )
        + (
            "; the paper's own optimisation at each lambda beside the optimum"
            if recipe.replays_probes
            else ""
        )
        + (f"; without {', '.join(unknown)}, {UNKNOWN}" if unknown else ""),
        "grid": "" if grid is None else _grid(counting, grid),
        "sae": f"{recipe.site} at {layer}, width {counting.d_in:,}: "
        + (
            f"taken from {recipe.sae.from_}, counted as {counting.latents:,} latents; {_fidelity(counting)}"
            if recipe.sae.from_
            else f"{counting.latents:,} latents, {_sparsity(recipe)}, {2 * size:,} weights; {counting.steps:,} steps "
            f"of ~{counting.step_tokens:,.0f} tokens over "
            f"{count_text(counting.train_tokens * recipe.sae.epochs)}; then {_fidelity(counting)}"
        ),
        "evidence": f"tests of {counting.latents:,} latents and the site's coordinates, each language against each, on "
        + ("panel" if "panel" in counting.roles else "select")
        + (" and again on replicate" if "replicate" in counting.roles else ""),
        "stability": f"{recipe.evidence.seeds} more like sae, with other seeds, one after the other; the latents "
        "of each are tested like the run's, and matched with them",
        "features": f"2 passes over select, {count_text(select)} tokens",
        "baselines": f"{recipe.baselines.untrained} untrained autoencoders by the same rule, coordinates, directions "
        "and LAPE neurons; each switched off on test until the change of loss is known",
        "effects": f"1 pass over test, {count_text(test)} tokens, and {counting.edits} from the site on, and "
        f"{counting.compared} of other sets"
        + ("; the same on half of panel" if "panel" in counting.roles else "")
        + ("; 8 prompts" if recipe.effects.prompts else ""),
        "steering": _steering(recipe),
        "tasks": _tasks(recipe),
        "controls": f"{counting.drawn:,} passes from the site on, over 200 sentences of "
        f"{2 + len(recipe.effects.controls_on)} languages each",
        "report": "figures and the page",
    }
    yield "Stages"
    for stage, work in works.items():
        costs = [f"holds {bytes_text(work.memory(machine))}"] if stage != "report" else []
        flops = work.model_flops + work.float_flops
        costs += [f"{flops:.1e} FLOPs"] if flops else []
        costs += [f"{bytes_text(work.moved)} moved"] if work.moved > 1e9 else []
        scratch = work.scratch * machine.model_bytes
        costs += [f"{bytes_text(scratch)} on disk meanwhile"] if scratch > 1e6 else []
        costs += (
            [f"{bytes_text(work.checkpoints)} of checkpoints meanwhile"] if work.checkpoints > 1e6 else []
        )
        costs += [f"{bytes_text(work.written)} written"] if work.written > 1e6 else []
        detail = f" (~{', '.join(costs)})" if costs else ""
        yield from wrapped(f"  {stage:<10}", what[stage] + detail, gap=0)


def _steering(recipe: Recipe) -> str:
    settings = recipe.steering
    return (
        f"{settings.prompts} prompts continued by {settings.tokens} tokens under {len(settings.families)} families of "
        f"edits at {len(settings.values)} doses, and at {len(settings.kl)} KL to the model as it is"
    )


def _grid(counting: Counting, shape: Shape) -> str:
    recipe = counting.recipe
    d = shape.site_width(recipe.site)
    name = "" if recipe.grid.model in (None, recipe.model) else f" of {recipe.grid.model}"
    return (
        f"{len(counting.grid_kinds(d))} autoencoders of {recipe.grid.size(d):,} latents on {recipe.site}{name}, "
        f"width {d:,}, in one pass over {count_text(counting.train_tokens * recipe.sae.epochs)} tokens; "
        "then measured on select"
    )


def _tasks(recipe: Recipe) -> str:
    settings = recipe.tasks
    ways = {"controlled": "as controlled", "as_coded": "as coded", "both": "as controlled and as coded"}
    return (
        f"{len(settings.names.split()) if settings.names else 0} of up to {settings.rows:,} rows, "
        f"{task_arms(settings)} arms, {ways[recipe.task_protocol]}"
        + (f"; fine-tuned {settings.seeds} times each" if settings.finetune else "")
    )


def _table(works: dict[str, Work], machines: list[Machine]) -> Iterator[str]:
    """Time by stage and machine, and whether it fits."""
    yield f"{'Time, ~':<12}" + "".join(f"{machine.name:>16}" for machine in machines)
    for stage, work in works.items():
        yield f"  {stage:<10}" + "".join(f"{time_text(work.time(machine)):>16}" for machine in machines)
    totals = [sum(work.time(machine) for work in works.values()) for machine in machines]
    yield f"  {'in all':<10}" + "".join(f"{time_text(total):>16}" for total in totals)
    needs = [max(work.memory(machine) for work in works.values()) for machine in machines]
    yield f"  {'memory':<10}" + "".join(f"{bytes_text(need):>16}" for need in needs)
    fits = [
        "fits" if need < USABLE * machine.memory else f"has {bytes_text(machine.memory)}"
        for need, machine in zip(needs, machines, strict=True)
    ]
    yield f"  {'':<10}" + "".join(f"{text:>16}" for text in fits)


def _how(counting: Counting, works: dict[str, Work], machines: list[Machine], out: Path) -> Iterator[str]:
    """What the numbers were made of."""
    here, shape = machines[0], counting.shape
    rates = f"{here.float_rate / 1e9:,.0f} GFLOP/s in float32"
    if here.model_rate != here.float_rate:
        rates = (
            f"{here.model_rate / 1e12:,.0f} TFLOP/s for the model, {here.float_rate / 1e12:,.0f} in float32"
        )
    yield from wrapped(
        "",
        f"This machine, measured just now: {rates}, {here.bandwidth / 1e9:,.0f} GB/s."
        + (f" The other columns count on {SHARE:.0%} of their data sheets' speeds." if machines[1:] else "")
        + " Fetching and loading come on top, and whatever else runs there makes it slower: expect the right "
        "order of magnitude, within a factor of three.",
        gap=0,
    )
    yield from wrapped(
        "",
        f"Counted: 2 FLOPs a token for each of {shape.block_weights:,} weights in {shape.layers} blocks, as far "
        f"as a pass goes, and of {shape.vocabulary * shape.width:,} in the output matrix; 2 x {counting.d_in:,} x "
        f"{counting.latents:,} a token in the encoder; for a step of training 40 bytes a weight and more; "
        f"{LAUNCH * 1e6:.0f} microseconds for every operation.",
        gap=0,
    )
    need = sum(work.written for work in works.values()) + max(
        here.model_bytes * work.scratch + work.checkpoints for work in works.values()
    )
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    yield from wrapped(
        "",
        f"Disk: ~ {bytes_text(need)} in {out} ({bytes_text(shutil.disk_usage(nearest).free)} are free there); "
        f"what is fetched goes to {hub_cache()} and to glossae's cache ('glossae doctor' shows both).",
        gap=0,
    )


def _fidelity(counting: Counting) -> str:
    most = counting.fidelity_sentences
    if most is None:
        return "measured on select"
    return (
        f"measured on select until losses are known to {counting.recipe.sae.precision:g} nats, counted as "
        f"{most:,} sentences of each language, which is an upper bound"
    )


def _sparsity(recipe: Recipe) -> str:
    return f"k {recipe.sae.k}" if recipe.sae.activation != "relu" else f"L1 weight {recipe.sae.l1:g}"
