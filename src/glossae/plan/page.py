"""The dry run: as text of at most 80 columns, and its quantities for programs."""

import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glossae.corpora import SHARES, untested_languages
from glossae.errors import GlossaeError
from glossae.files import nearest_there, read_json
from glossae.plan.facts import (
    Amounts,
    ModelFacts,
    SourceFacts,
    bytes_per_token,
    hub_cache,
    model_facts,
    role_amounts,
    source_facts,
)
from glossae.plan.machine import LAUNCH, SHARE, Machine, listed_gpus, this_machine
from glossae.plan.quantities import (
    UNKNOWN,
    Quantities,
    Work,
    bytes_text,
    check_positions,
    count_text,
    sentences_of,
    time_text,
    tokens_of,
    wrap_text,
)
from glossae.recipe import Recipe

# a name, its bytes (None: unknown until fetched; 0: negligible), and a description
_Row = tuple[str, float | None, str]
# the usable share of a device's memory: drivers and fragmentation take the rest
USABLE = 0.85
RECORD = "run.json"
_CHECKED = "checked by the loss at load"


@dataclass(frozen=True)
class Plan:
    """What a run would read, fetch, hold and cost.

    Attributes:
        text: for a person.
        facts: for `--json`: bytes, seconds, sentences and tokens as numbers; None where something is unknown until
            fetched.
    """

    text: str
    facts: dict[str, Any]


def dry_run(recipe: Recipe, out: Path, until: str | None = None, count: int = 1) -> Plan:
    """Say what a run of `recipe` into `out` would read, fetch, hold and cost. Nothing is fetched or written.

    Of several ranks (`count`), what one of them would.

    Raises:
        GlossaeError: a source or folder of the recipe does not exist or cannot be read, or the model lacks the
            layer.
    """
    # stages import this room's arithmetic, and bring torch with them, so they are imported here
    from glossae.stages import STAGES, stage_of

    *names, last = STAGES
    names = names[: STAGES.index(until or last) + 1]
    stages = [*(stage for stage in map(stage_of, names) if stage.asked(recipe)), stage_of(last)]
    named = [recipe.model, *(name for stage in stages for _, name in stage.models(recipe))]
    models = {name: model_facts(name) for name in dict.fromkeys(named)}
    own = models[recipe.model]
    sources = source_facts(recipe, bytes_per_token(own))
    roles = role_amounts(recipe, sources)
    about = f"{recipe.name}: {recipe.description}" if recipe.description else recipe.name
    lines = list(wrap_text("", about, gap=0))
    lines += ["Dry run: nothing is fetched, run or written; ~ marks arithmetic.", ""]
    more = [source for stage in stages for source in stage.sources(recipe)]
    texts = [*(source for facts in sources.values() for source in facts), *more]
    lines += _inputs(models, texts)
    lines += ["", *_roles(roles, sources)]
    before = chat_tokens(own) if recipe.chat else 0
    notes = [chat_line(before)] if recipe.chat else list(bos_lines(recipe.bos, own, out))
    known = {role: amounts for role, amounts in roles.items() if amounts is not None}
    if len(known) == len(roles):
        sentences = {role: {code: a.sentences for code, a in own.items()} for role, own in known.items()}
        notes += untested_languages(sentences, recipe.languages.others)
    counts = None
    if own.shape is not None and len(known) == len(roles):
        shapes = {name: facts.shape for name, facts in models.items()}
        counts = Quantities(recipe, own.shape, known, before or 0, shapes, count)
        notes += [line for stage in stages for line in stage.forecast(counts)]
    for line in notes:
        lines += wrap_text("  ", line, gap=0)
    facts: dict[str, Any] = {"recipe": recipe.name, "model": recipe.model, "folder": str(out)}
    facts |= {"inputs": _input_facts(models, texts), "text": _role_facts(roles), "notes": notes}
    if counts is None:
        listed = ", ".join(stage.name for stage in stages)
        lines += ["", *wrap_text("", f"Stages ({listed}): memory and time are {UNKNOWN}.", gap=0)]
        return Plan("\n".join(lines), facts | {"stages": None, "machines": None, "disk_bytes": None})
    layers = counts.shape.layers
    if recipe.layer != "auto" and recipe.layer >= layers:
        raise GlossaeError(
            f"layer: {recipe.model} has the layers 0 to {layers - 1}, and {recipe.layer} is not one of them"
        )
    if recipe.max_tokens != "auto":
        check_positions("max_tokens", recipe.max_tokens, recipe.model, counts.shape.positions or sys.maxsize)
    works = [(stage.name, stage.cost(counts), stage.words(counts)) for stage in stages]
    machines = [this_machine(recipe.device, recipe.dtype)]
    machines += [gpu for gpu in listed_gpus(recipe.dtype) if recipe.device != "cpu"]
    lines += ["", *_stages(works, machines[0])]
    counted = {stage: work for stage, work, _ in works if work is not None}
    lines += ["", *_table(counted, machines)]
    need = _disk_bytes(counted, machines[0])
    lines += ["", *_assumptions(counts, need, machines, out)]
    facts |= {
        "stages": [_stage_facts(name, work, words, machines) for name, work, words in works],
        "machines": [_machine_facts(counted, machine) for machine in machines],
        "disk_bytes": round(need),
    }
    return Plan("\n".join(lines), facts)


def _input_facts(models: dict[str, ModelFacts], sources: list[SourceFacts]) -> list[dict[str, Any]]:
    """Where each model and source of text is, and its bytes; those at `hub` and `net` would be fetched."""
    named = {source.name: source for source in sources}
    rows: list[tuple[str, ModelFacts | SourceFacts]] = [("model", model) for model in models.values()]
    rows += [("text", source) for source in named.values()]
    return [
        {"name": facts.name, "kind": kind, "where": facts.where, "bytes": facts.size and round(facts.size)}
        for kind, facts in rows
    ]


def _role_facts(roles: dict[str, Amounts | None]) -> dict[str, Any]:
    return {
        role: amounts
        and {
            code: {"sentences": round(own.sentences), "tokens": round(own.tokens)}
            for code, own in amounts.items()
        }
        for role, amounts in roles.items()
    }


def _stage_facts(name: str, work: Work | None, words: str, machines: list[Machine]) -> dict[str, Any]:
    if work is None:
        unknown = dict.fromkeys(("flops", "written_bytes", "needed_bytes", "seconds"))
        return {"stage": name, "does": words, **unknown}
    return {
        "stage": name,
        "does": words,
        "flops": work.flops,
        "written_bytes": round(work.written),
        "needed_bytes": {machine.name: round(work.memory(machine)) for machine in machines},
        "seconds": {machine.name: work.time(machine) for machine in machines},
    }


def _machine_facts(works: dict[str, Work], machine: Machine) -> dict[str, Any]:
    need = max(work.memory(machine) for work in works.values())
    return {
        "machine": machine.name,
        # a system that does not tell
        "memory_bytes": round(machine.memory) if math.isfinite(machine.memory) else None,
        "needed_bytes": round(need),
        "fits": need < USABLE * machine.memory,
        "seconds": sum(work.time(machine) for work in works.values()),
    }


def _disk_bytes(works: dict[str, Work], here: Machine) -> float:
    """The bytes of the run's folder, and of what its largest stage keeps in it meanwhile."""
    meanwhile = max(
        here.model_bytes * work.scratch + work.shared + work.checkpoints for work in works.values()
    )
    return sum(work.written for work in works.values()) + meanwhile


def _inputs(models: dict[str, ModelFacts], sources: list[SourceFacts]) -> Iterator[str]:
    """The files that are here, and those that would be fetched."""
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
        # what is shipped has no size worth listing
        amount = UNKNOWN if size is None else bytes_text(size) if size else ""
        yield from wrap_text(f"  {name:<25} {amount:>9}", what)


def _roles(roles: dict[str, Amounts | None], sources: dict[str, list[SourceFacts]]) -> Iterator[str]:
    cuts = {"select": "30 % of train", "test": "half of select", "tune": "20 % of select"}
    if "text" in sources:
        cuts = {role: f"{100 * share:g} % of text" for role, share in SHARES.items()}
        cuts["train"] = f"the rest of {' '.join(source.name for source in sources['text'])}"
    yield f"{'Text':<10}{'sentences':>12}{'tokens':>14}   from"
    for role, amounts in roles.items():
        origin = " ".join(s.name for s in sources[role]) if role in sources else cuts[role]
        if amounts is None:
            yield from wrap_text(f"  {role:<8}", f"{UNKNOWN}   {origin}")
            continue
        numbers = f"{count_text(sentences_of(amounts)):>12}{count_text(tokens_of(amounts)):>14}   "
        yield from wrap_text(f"  {role:<8}{numbers}", origin, gap=0)


def _stages(works: list[tuple[str, Work | None, str]], machine: Machine) -> Iterator[str]:
    """The work of each stage, in numbers."""
    yield "Stages"
    for stage, work, words in works:
        costs: list[str] = []
        if work is not None:
            # the report's bytes are negligible
            costs += [f"holds {bytes_text(work.memory(machine))}"] if work.weights else []
            costs += [f"{work.flops:.1e} FLOPs"] if work.flops else []
            costs += [f"{bytes_text(work.moved)} moved"] if work.moved > 1e9 else []
            meanwhile = (
                (work.scratch * machine.model_bytes + work.shared, "on disk"),
                (work.checkpoints, "of checkpoints"),
            )
            costs += [f"{bytes_text(size)} {what} meanwhile" for size, what in meanwhile if size > 1e6]
            costs += [f"{bytes_text(work.written)} written"] if work.written > 1e6 else []
        detail = f" (~{', '.join(costs)})" if costs else ""
        yield from wrap_text(f"  {stage:<12}", words + detail, gap=0)


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


def _assumptions(counts: Quantities, disk: float, machines: list[Machine], out: Path) -> Iterator[str]:
    """The assumptions behind the numbers."""
    here, shape = machines[0], counts.shape
    rates = f"{here.float_rate / 1e9:,.0f} GFLOP/s in float32"
    if here.half_rate != here.float_rate:
        rates += f", {here.half_rate / 1e9:,.0f} in bfloat16"
    yield from wrap_text(
        "",
        f"This machine, measured just now: {rates}, {here.bandwidth / 1e9:,.0f} GB/s."
        + (f" The other columns count on {SHARE:.0%} of their data sheets' speeds." if machines[1:] else "")
        + " Fetching, loading and other work on the machine take extra time: expect the right "
        f"order of magnitude, within a factor of three. What takes less than {USABLE:.0%} of the memory fits.",
        gap=0,
    )
    yield from wrap_text(
        "",
        f"Counted: 2 FLOPs a token for each of {shape.block_weights:,} weights in {shape.layers} blocks, as far "
        f"as a pass goes, and of {shape.vocabulary * shape.width:,} in the output matrix; 2 x {counts.d_in:,} x "
        f"{counts.latents:,} a token in the encoder; a step of training as glossae.sae.step_cost has it; "
        f"{LAUNCH * 1e6:.0f} microseconds for every operation."
        + (
            f" All of it is for one of {counts.ranks} ranks, which divide text and latents; what they send takes time "
            "besides (docs/scale.md)."
            if counts.ranks > 1
            else ""
        ),
        gap=0,
    )
    free = shutil.disk_usage(nearest_there(out)).free
    yield from wrap_text(
        "",
        f"Disk: ~ {bytes_text(disk)} in {out} ({bytes_text(free)} are free there); "
        f"what is fetched goes to {hub_cache()} and to glossae's cache ('glossae doctor' shows both).",
        gap=0,
    )


def bos_lines(bos: bool | str, model: ModelFacts, out: Path) -> Iterator[str]:
    """A line on what `bos: auto` will do, and both losses if the run's folder has them; none if the recipe sets bos.

    Args:
        bos: the recipe's setting.
        model: the run's model; only files on this machine are read.
        out: the run's folder, whose `run.json` may have `habits` from an earlier start.
    """
    if bos != "auto":
        return
    tokenizer = _tokenizer(model.folder)
    if tokenizer is None:
        yield f"bos auto: whether the tokenizer adds a BOS is unknown until the model is here; {_CHECKED}"
    elif _adds_bos(tokenizer):
        yield f"bos auto: the tokenizer adds a BOS: on; {_CHECKED}"
    else:
        yield f"bos auto: the tokenizer adds no BOS: off; {_CHECKED}"
    habits = _habits(out).get(model.name) or {}
    on, off = habits.get("loss_with_bos"), habits.get("loss_without_bos")
    if isinstance(on, float) and isinstance(off, float):
        yield f"bos: measured in {out}: {on:.2f} nats per token with a BOS, {off:.2f} without"


def chat_tokens(model: ModelFacts) -> int | None:
    """The number of the chat template's tokens before each text; None without a tokenizer on this machine.

    Raises:
        GlossaeError: the tokenizer has no chat template, or its template cannot be used.
    """
    tokenizer = _tokenizer(model.folder)
    if tokenizer is None:
        return None
    from glossae.lm import chat_ids

    return len(chat_ids(tokenizer, "", name=model.name))


def chat_line(tokens: int | None) -> str:
    """A line on what `chat` will do."""
    many = "unknown until the model is here" if tokens is None else f"{tokens:,}"
    return (
        "chat: each text is read as a reply in a chat, and prompts are its user's; tokens of the chat template before "
        f"each: {many}"
    )


def _adds_bos(tokenizer: Any) -> bool:
    from glossae.lm import adds_bos

    return adds_bos(tokenizer)


def _tokenizer(folder: Path | None) -> Any:
    """The tokenizer in a folder; None if there is none that can be read."""
    if folder is None or not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return None
    # a heavy import, needed only for recipes with `bos: auto` or `chat`
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        tokenizer("a")
    except Exception:  # the libraries raise what they like; loading the model will say what is wrong
        return None
    return tokenizer


def _habits(out: Path) -> dict[str, Any]:
    """The models' habits from an earlier start of the run, by model; empty if they cannot be read."""
    try:
        record = read_json(out / RECORD)
    except (GlossaeError, OSError, ValueError):
        return {}
    found = record.get("habits") if isinstance(record, dict) else None
    return (
        {name: own for name, own in found.items() if isinstance(own, dict)} if isinstance(found, dict) else {}
    )
