"""The stage `steering`: steer prompts by latents, neurons and the difference of means, and write each as a knob."""

import math
from collections.abc import Iterator, Sequence

from glossae.corpora import first_of_each
from glossae.effects import FAMILIES, Knob, UnitSet, families
from glossae.evidence import identify
from glossae.files import delete
from glossae.plan import BLOCK_OPERATIONS, Quantities, Work, sentences_of, tokens_of
from glossae.results import (
    Identifiers,
    Lingua,
    StageResults,
    SteeredFamily,
    SteeringPrompts,
    SteeringResult,
    SteeringText,
)
from glossae.run.context import Context, Inputs, Progress, check_length, part
from glossae.run.folder import KNOBS, write_table
from glossae.stages.sae import load_sae
from glossae.stages.shared.units import tested_neurons
from glossae.stages.stage import Stage, settings_of
from glossae.steering import Prompts, Steered, cut_prompts, lingua_languages, lingua_version, steer
from glossae.units import activation_moments

# sentences of each language that the n-gram identifier learns from: more hardly helps, and takes its time
LEARNT_FROM = 5000
# of a dry run: doses measured until one has the KL that is looked for, and prompts in a batch (lm.continuing)
LOOKED_FOR, PROMPTS_AT_ONCE = 3, 64


def check(context: Context) -> None:
    """Check that the model has positions for prompts and their continuations, and that `test` has prompts.

    Raises:
        GlossaeError: it has not.
    """
    settings, lm = context.recipe.steering, context.lm
    if settings.wanted:
        longest = settings.prompt_tokens + settings.tokens + len(lm.prefix)
        check_length("steering.tokens: with steering.prompt_tokens", longest, lm)
        _prompts(context)


def _prompts(context: Context) -> Prompts:
    settings = context.recipe.steering
    return cut_prompts(
        context.lm,
        context.tokens("test"),
        context.reference,
        count=settings.prompts,
        length=settings.prompt_tokens,
        new_tokens=settings.tokens,
    )


def run(context: Context, progress: Progress) -> StageResults:
    """Continue prompts in the reference's language under every family, dose by dose and at the same KL."""
    recipe, settings = context.recipe, context.recipe.steering
    lm, site = context.lm, context.site
    prompts = _prompts(context)
    chosen = _families(context, part(progress, 0.0, 0.1))
    ngrams = _ngrams(context)
    progress(0.15)
    steered = steer(
        lm,
        site,
        chosen,
        prompts.ids,
        prompts.sentences,
        ngrams,
        context.target,
        doses=settings.values,
        at=settings.kl,
        new_tokens=settings.tokens,
        ending=settings.ending,
        sample=recipe.seed if settings.sample else None,
        draws=recipe.effects.bootstrap,
        seed=recipe.seed,
        clusters=prompts.clusters,
        budget=recipe.batch_tokens,
        keep=context.parts["steering"].arrays,
        progress=part(progress, 0.15, 0.98),
    )
    _write_knobs(context, chosen)
    _write_texts(context, steered, prompts.texts)
    return StageResults(
        steering=SteeringResult(
            arms=steered.arms,
            families=[
                SteeredFamily(
                    family=family.name,
                    kind=family.all_units.kind,
                    operation=str(family.operation),
                    units=[family.all_units.name(unit) for unit in family.ids],
                    unreached=steered.unreached[family.name],
                )
                for family in chosen
            ],
            left_out=[name for name in settings.families if name not in {one.name for one in chosen}],
            kl=list(settings.kl),
            prompts=SteeringPrompts(
                paper=prompts.papers, test=len(prompts.sentences), tokens=settings.prompt_tokens
            ),
            kl_text=SteeringText(
                sentences=len(prompts.sentences), tokens=int(prompts.sentences.predicted.sum())
            ),
            identifiers=Identifiers(ngrams=list(ngrams.languages), lingua=_lingua(ngrams)),
            examples=steered.examples(prompts.texts, prompts.papers + settings.examples),
        )
    )


def _families(context: Context, progress: Progress) -> list[UnitSet]:
    """What is compared; means are those of `select`."""
    recipe, stored = context.recipe, context.folder.read("features", "ranges.json")
    units = tuple(int(unit) for unit in stored["reference_means"])
    low, high = (
        tuple(stored[name][str(unit)] for unit in units) for name in ("reference_means", "target_means")
    )
    moments = activation_moments(
        context.lm, context.site, context.pair_tokens("select"), budget=recipe.batch_tokens, progress=progress
    )
    return families(
        recipe.steering.families,
        site=context.site,
        sae=load_sae(context),
        latents=units,
        latent_means=(low, high),
        moments=moments,
        target=context.target,
        reference=context.reference,
        model=context.lm.name,
        tested_neurons=tested_neurons(context),
    )


def _ngrams(context: Context) -> identify.NgramModel:
    """The identifier, from the run's own text of train and select."""
    there = [s for role in ("train", "select") for s in context.roles.corpora[role].sentences]
    learnt = [there[place] for place in first_of_each((s.language for s in there), LEARNT_FROM)]
    return identify.NgramModel.fit([s.text for s in learnt], [s.language for s in learnt])


def _lingua(ngrams: identify.NgramModel) -> Lingua | None:
    languages = lingua_languages(ngrams.languages)
    return Lingua(version=lingua_version() or "unknown", languages=list(languages)) if languages else None


def _write_knobs(context: Context, chosen: Sequence[UnitSet]) -> None:
    """Each family as a knob at the dose 1; a whole encoder is the run's own and need not be written again."""
    folder = context.folder.path / "steering" / KNOBS
    for name in FAMILIES:
        delete(folder / f"{name}.safetensors")
    for family in chosen:
        if family.competes:
            continue
        knob = Knob.of(
            context.lm,
            context.site,
            family,
            dose=1.0,
            target=context.target,
            reference=context.reference,
            origin={"recipe": context.recipe.name, "text": context.roles.corpora["select"].sha256},
        )
        knob.save(folder / f"{family.name}.safetensors")


def _write_texts(context: Context, steered: Steered, prompts: Sequence[str]) -> None:
    """Every continuation, with its arm and its languages."""
    rows = []
    for arm, texts, found in zip(steered.arms, steered.texts, steered.answers, strict=True):
        for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
            rows.append(
                {
                    "family": arm.family,
                    "value": arm.value,
                    "at": arm.at,
                    "prompt": prompt,
                    "text": text,
                    "ngrams": found.ngrams[number] or None,
                    "lingua": None if found.lingua is None else found.lingua[number] or None,
                }
            )
    write_table(context.folder.path / "steering" / "continuations.parquet", rows)


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """At each KL, how often the families write the target language."""
    if (steering := results.steering) is None:
        return
    for at in steering.kl:
        if arms := [arm for arm in steering.arms if arm.at == at]:
            said = ", ".join(f"{arm.family} {arm.success:.0%}" for arm in arms)
            yield f"steering  {target} at KL {at:g}: {said}"


def cost(counts: Quantities) -> Work:
    """Means on `select`; every arm's continuations, their loss, and its KL on whole sentences."""
    settings, shape, reference = counts.recipe.steering, counts.shape, (counts.pair[1],)
    counts.check_length(
        "steering.tokens: with steering.prompt_tokens", settings.prompt_tokens + settings.tokens
    )
    there = sentences_of(counts.roles["test"], reference)
    prompts = min(settings.prompts, there) + 4
    sentences = min(settings.prompts, there) / max(1.0, there) * tokens_of(counts.roles["test"], reference)
    count = len(settings.families)
    arms = 1 + count * (len(settings.values) + len(settings.kl))
    measured = count * (len(settings.values) + LOOKED_FOR * len(settings.kl))
    written = prompts * (settings.prompt_tokens + settings.tokens)
    means = counts.forward(tokens_of(counts.roles["select"], counts.pair), counts.depth)
    passes = counts.forward(arms * 2 * written + (1 + measured) * sentences, shape.layers, output=True)
    codes = counts.encode(arms * written + measured * sentences)
    # every token of a batch of prompts reads all weights
    steps = arms * settings.tokens * math.ceil(prompts / PROMPTS_AT_ONCE)
    return (
        means
        + passes.beside(codes)
        + Work(
            moved=4 * steps * (shape.weights + 2 * counts.d_in * counts.latents),
            operations=steps * shape.layers * BLOCK_OPERATIONS * 2,
            # both identifiers' models, and their reading of every continuation
            seconds=10 + arms * prompts / 2000,
        )
    )


def words(counts: Quantities) -> str:
    """How many prompts, families and doses."""
    settings = counts.recipe.steering
    return (
        f"{settings.prompts} prompts continued by {settings.tokens} tokens under {len(settings.families)} families of "
        f"edits at {len(settings.values)} doses, and at {len(settings.kl)} KL to the model as it is"
    )


STAGE = Stage(
    name="steering",
    does="steering what the model writes",
    run=run,
    inputs=lambda context: Inputs(
        ("train", "select", "test"),
        {**settings_of(context.recipe, "steering"), "lingua": lingua_version()},
        ("features", "evidence"),
        {"bootstrap": context.recipe.effects.bootstrap},
    ),
    cost=cost,
    words=words,
    asked=lambda recipe: recipe.steering.wanted,
    lower="batch_tokens, steering.prompts or steering.tokens",
    check=check,
    lines=lines,
)
