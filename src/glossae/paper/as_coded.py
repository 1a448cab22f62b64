"""Protocols in which the paper's code differs from its text: the encoder, averages of loss, and tasks."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from glossae.corpora import Task
from glossae.effects import Edit, Sweep, compile_edits
from glossae.errors import GlossaeError
from glossae.lm import (
    Batch,
    LanguageModel,
    Site,
    TokenizedCorpus,
    mean_over_all,
    replayed_losses,
    text_states,
)
from glossae.results import CodedCell, TaskScore
from glossae.sae import Sae
from glossae.tasks import (
    States,
    bases,
    by_bootstrap,
    encode_texts,
    fit_unscaled,
    score_rows,
    states_under,
    task_set,
)
from glossae.units import Units, UnitStatistics, latent_statistics

# the text of the paper's code: 501 rows in which the languages alternate, Danish first
CODED_SENTENCES = (251, 250)
# the number of sentences on which it selects latents
SELECTED_ON = 100
# its settings of tasks
CODED_TASK_ROWS, CODED_TEST_SHARE, CODED_SEED = 2000, 0.2, 42
# rows at a time
CODED_ROWS = 16


def without_pre_encoder_bias(sae: Sae) -> Sae:
    """The same weights, with an encoder that reads x although it was trained to read x - b_dec.

    The paper's code finds and edits its latents by such a code (`get_activations`), although its formula
    (section 4.2) and its training subtract the bias; decoding adds it in any case. Weights are shared, not
    copied. An SAE that was trained without a pre-encoder bias is returned unchanged.
    """
    other = copy.copy(sae)
    other.config = dataclasses.replace(sae.config, pre_encoder_bias=False)
    return other


def coded_statistics(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> UnitStatistics:
    """What latents do on a text's first 100 sentences, by the code that leaves out the pre-encoder bias.

    Of each language at least one sentence is among them.
    """
    languages = [sentence.language for sentence in tokens.corpus.sentences]
    firsts = {languages.index(code) for code in set(languages)}
    rest = [place for place in range(len(languages)) if place not in firsts]
    read = tokens.take(sorted([*firsts, *rest[: SELECTED_ON - len(firsts)]]))
    return latent_statistics(lm, site, without_pre_encoder_bias(sae), read, budget=budget, progress=progress)


def coded_text(tokens: TokenizedCorpus, languages: Sequence[str]) -> TokenizedCorpus:
    """The first 251 and 250 sentences of two languages, which is what the paper's code reads of its text."""
    codes = np.array([sentence.language for sentence in tokens.corpus.sentences])
    wanted = zip(languages, CODED_SENTENCES, strict=True)
    chosen = np.concatenate([np.flatnonzero(codes == code)[:most] for code, most in wanted])
    return tokens.take(sorted(chosen.tolist()))


def coded_cells(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    edits: Sequence[Edit],
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[CodedCell]:
    """Mean loss of every language of a text under spliced edits, and under the splice without an edit.

    Args:
        sae: the SAE; as coded, `without_pre_encoder_bias`.
        edits: each with its value; the splice without an edit is added.

    Raises:
        GlossaeError: a unit does not exist, or the model lacks the site.
    """
    fns = compile_edits([Edit("none", splice=True), *edits], sae)
    losses = replayed_losses(lm, site, tokens, fns, budget=budget, progress=progress)
    means: Float[np.ndarray, "edits sentences"] = losses / tokens.predicted
    languages = np.array([sentence.language for sentence in tokens.corpus.sentences])
    cells = []
    for code in tokens.corpus.languages:
        own = means[:, languages == code].mean(1)
        for value, ce in zip([None, *(edit.value for edit in edits)], own.tolist(), strict=True):
            cells.append(
                CodedCell(
                    value=value,
                    language=code,
                    ce=ce,
                    delta=ce - float(own[0]),
                    sentences=int((languages == code).sum()),
                )
            )
    return cells


def as_coded(
    lm: LanguageModel,
    site: Site,
    units: Sae | Units,
    task: Task,
    edits: Sequence[Edit],
    *,
    name: str = "",
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> list[TaskScore]:
    """A task under edits as in the paper's section 5.2 and Appendix D, by its code.

    The first 2,000 rows of train (`full_train`, if there is one), a fifth of them for testing, weighted F1.
    The model is frozen; its final states are averaged over all positions, including pads of EOS up to the
    longest text, and scikit-learn's logistic regression is fitted on them with its defaults: unscaled, at most
    100 steps. `converged` tells
    whether those were enough. The intervals are ours: the paper has none, nor the unedited model. Edits are
    applied as given; the paper's leave out the pre-encoder bias. Rows of a pair may be on both sides of the
    split: what was learnt about a sentence is wrong for its corruption, which pulls ScaLA below chance.

    Args:
        edits: each is an arm, besides the unedited model and, if an edit is spliced, the splice without an
            edit.

    Raises:
        GlossaeError: an edit does not fit, the tokenizer has no EOS, or all rows have the same label.
    """
    from sklearn.model_selection import train_test_split

    own = task_set(units, edits, name)
    rows = task.splits.get("full_train", task.train)[:CODED_TASK_ROWS]
    labels = np.array([task.labels.index(row.label) for row in rows], dtype=np.int64)
    learned, tried = train_test_split(
        np.arange(len(rows)), test_size=CODED_TEST_SHARE, random_state=CODED_SEED
    )
    if len(np.unique(labels[learned])) < 2:
        raise GlossaeError(f"{task.source}: the first {len(rows)} rows of train have one label only")
    tokens = encode_texts(lm, rows, task=task, max_tokens=lm.max_positions)
    states = _padded_states(lm, site, tokens, own.sweep, lambda share: progress(0.9 * share))
    said, converged = [], []
    for number, features in enumerate(states, 1):
        predictions, enough = fit_unscaled(
            features[learned], labels[learned], features[tried], random_state=0
        )
        said.append(predictions)
        converged.append(enough)
        progress(0.9 + 0.1 * number / len(states))
    pairs = [rows[place].pair for place in tried]
    compared = by_bootstrap(
        labels[tried],
        np.stack(said)[:, None],
        pairs,
        bases(own.sweep),
        "weighted_f1",
        labels=len(task.labels),
        draws=draws,
        seed=seed,
    )
    return score_rows(
        task,
        [own],
        compared,
        converged,
        protocol="as_coded",
        metric="weighted_f1",
        n_train=len(learned),
        n_test=len(tried),
        penalty=1.0,
    )


def _padded_states(
    lm: LanguageModel, site: Site, tokens: TokenizedCorpus, steps: Sweep, progress: Callable[[float], None]
) -> States:
    """The mean final states of texts padded with EOS to the longest of all, with pads in the mean.

    Attention does not see pads, but they have states of their own, and are edited like every token.
    """
    eos = lm.tokenizer.eos_token_id
    if eos is None:
        raise GlossaeError(f"tasks.protocol: as_coded pads with EOS, and the tokenizer of {lm.name} has none")
    longest = max(len(ids) for ids in tokens.ids)

    def made() -> Iterable[tuple[Batch, float]]:
        for start in range(0, len(tokens), CODED_ROWS):
            rows = tokens.ids[start : start + CODED_ROWS]
            ids = torch.full((len(rows), longest), eos, dtype=torch.long)
            real = torch.zeros(ids.shape, dtype=torch.bool)
            for number, row in enumerate(rows):
                ids[number, : len(row)] = torch.from_numpy(row)
                real[number, : len(row)] = True
            index = torch.arange(start, start + len(rows))
            yield Batch(ids, torch.ones_like(real), real, index), (start + len(rows)) / len(tokens)

    return states_under(lm, site, steps, made(), len(tokens), text_states, mean_over_all, progress)
