"""The stage that steers prompts by latents, neurons and the difference of means, and writes each as a knob."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from glossae.effects import FAMILIES, Family, Knob, families
from glossae.errors import GlossaeError
from glossae.find import identify
from glossae.lm import Site, TokenizedCorpus, prompt_ids
from glossae.run.context import Context
from glossae.run.effect_arms import tested_neurons
from glossae.run.folder import as_rows
from glossae.run.sae_stage import load_sae
from glossae.run.show import Report, part
from glossae.run.tables import write_table
from glossae.stats import Clusters
from glossae.steering import PROMPTS, Steered, lingua_languages, lingua_version, steer
from glossae.text import first_of_each
from glossae.units import activation_moments

# sentences of each language that the n-gram identifier learns from: more hardly helps, and takes its time
LEARNT_FROM = 5000
KNOBS = "knobs"


def steering_stage(context: Context, layer: int, report: Report) -> dict[str, Any]:
    """Continue prompts in the reference's language under every family, dose by dose and at the same KL."""
    recipe, settings = context.recipe, context.recipe.steering
    lm, site = context.lm, context.site(layer)
    prompts, said, papers, sentences = _prompts(context)
    chosen = _families(context, site, part(report, 0.0, 0.1))
    ngrams = _ngrams(context)
    report(0.15)
    steered = steer(
        lm,
        site,
        chosen,
        prompts,
        sentences,
        ngrams,
        context.target,
        doses=settings.values,
        at=settings.kl,
        new_tokens=settings.tokens,
        ending=settings.ending,
        sample=recipe.seed if settings.sample else None,
        draws=recipe.effects.bootstrap,
        seed=recipe.seed,
        clusters=_clusters(papers, sentences),
        budget=recipe.batch_tokens,
        keep=context.parts["steering"].arrays,
        progress=part(report, 0.15, 0.98),
    )
    _write_knobs(context, site, chosen)
    _write_texts(context, steered, said)
    return {
        "steering": {
            "arms": as_rows(steered.arms),
            "families": [
                {
                    "family": family.name,
                    "kind": family.of.kind,
                    "operation": family.operation,
                    "units": [family.of.name(unit) for unit in family.ids],
                    "unreached": steered.unreached[family.name],
                }
                for family in chosen
            ],
            "left_out": [name for name in settings.families if name not in {one.name for one in chosen}],
            "kl": list(settings.kl),
            "prompts": {"paper": papers, "test": len(prompts) - papers, "tokens": settings.prompt_tokens},
            "kl_text": {"sentences": len(sentences), "tokens": int(sentences.predicted.sum())},
            "identifiers": {"ngrams": list(ngrams.languages), "lingua": _lingua(ngrams)},
            "examples": _examples(steered, said, papers + settings.examples),
        }
    }


def _clusters(papers: int, sentences: TokenizedCorpus) -> Clusters:
    """The paper's prompts each by itself, then those of `sentences` by document."""
    cut = Clusters.within(sentences.corpus, np.arange(len(sentences)))
    return Clusters(np.concatenate([np.arange(papers), papers + cut.of]), papers + cut.count)


class _Prompts(NamedTuple):
    """The paper's prompts, then those cut from `test`.

    Attributes:
        ids: what the model is given.
        texts: the same without what stands before them.
        papers: how many are the paper's.
        sentences: the whole sentences of the cut ones.
    """

    ids: list[np.ndarray]
    texts: list[str]
    papers: int
    sentences: TokenizedCorpus


def _prompts(context: Context) -> _Prompts:
    settings, lm, tokens = context.recipe.steering, context.lm, context.tokens("test")
    long = [
        number
        for number, sentence in enumerate(tokens.corpus.sentences)
        # one that is nearly over would be ended and not continued
        if sentence.language == context.reference
        and len(tokens.ids[number]) >= tokens.prefix + 2 * settings.prompt_tokens
    ][: settings.prompts]
    if not long:
        raise GlossaeError(
            f"steering.prompt_tokens: to cut a prompt of {settings.prompt_tokens} a sentence has to have twice as many "
            f"tokens, and test has none in {context.reference}"
        )
    papers = {
        text: np.array(prompt_ids(lm, text), dtype=np.int64) for text in PROMPTS.get(context.reference, ())
    }
    # a tokenizer that knows few words makes long prompts, for which small models have no room
    papers = {text: ids for text, ids in papers.items() if len(ids) + settings.tokens <= lm.max_positions}
    prompts, texts = [*papers.values()], [*papers]
    for number in long:
        before, own = np.split(tokens.ids[number][: tokens.prefix + settings.prompt_tokens], [tokens.prefix])
        texts.append(lm.tokenizer.decode(own, skip_special_tokens=True).strip())
        # in a chat a prompt is the user's turn, and what stands before texts ends where the reply begins
        prompts.append(np.array(prompt_ids(lm, texts[-1])) if lm.chat else np.concatenate([before, own]))
    return _Prompts(prompts, texts, len(papers), tokens.take(long))


def _families(context: Context, site: Site, report: Report) -> list[Family]:
    """What is compared; means are those of `select`."""
    recipe, stored = context.recipe, context.folder.read("features", "ranges.json")
    units = tuple(int(unit) for unit in stored["reference_means"])
    low, high = (
        tuple(stored[name][str(unit)] for unit in units) for name in ("reference_means", "target_means")
    )
    moments = activation_moments(
        context.lm, site, context.pair_tokens("select"), budget=recipe.batch_tokens, progress=report
    )
    return families(
        recipe.steering.families,
        site=site,
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


def _lingua(ngrams: identify.NgramModel) -> dict[str, Any] | None:
    languages = lingua_languages(ngrams.languages)
    return {"version": lingua_version() or "unknown", "languages": list(languages)} if languages else None


def _write_knobs(context: Context, site: Site, chosen: Sequence[Family]) -> None:
    """Each family as a knob at the dose 1; a whole encoder is the run's own and need not be written again."""
    folder = context.folder.path / "steering" / KNOBS
    for name in FAMILIES:
        (folder / f"{name}.safetensors").unlink(missing_ok=True)
    for family in chosen:
        if family.competes:
            continue
        knob = Knob.of(
            context.lm,
            site,
            family,
            dose=1.0,
            target=context.target,
            reference=context.reference,
            whence={"recipe": context.recipe.name, "text": context.roles.corpora["select"].sha256},
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


def _examples(steered: Steered, prompts: Sequence[str], count: int) -> list[dict[str, Any]]:
    """The first continuations, raw and at the KL that families are compared at."""
    return [
        {
            "prompt": prompts[number],
            "family": arm.family,
            "value": arm.value,
            "at": arm.at,
            "text": texts[number],
            "language": None if found.best[number] == identify.UNANSWERED else found.best[number],
        }
        for number in range(min(count, len(prompts)))
        for arm, texts, found in zip(steered.arms, steered.texts, steered.answers, strict=True)
        if arm.value is None or arm.at is not None
    ]
