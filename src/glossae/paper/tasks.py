"""A task under edits as the paper's code has it: its section 5.2 and Appendix D."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from glossae.effects import Edit
from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, Site
from glossae.sae import Sae
from glossae.tasks import (
    METRICS,
    TaskScore,
    arms_of,
    by_bootstrap,
    compiled_arms,
    encode_texts,
    kind_of,
    padded_states,
    score_rows,
)
from glossae.text import Task
from glossae.units import Units

# what the paper's code says
CODED_TASK_ROWS, CODED_TEST_SHARE, CODED_SEED = 2000, 0.2, 42


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
    """The first 2,000 rows of train (`full_train`, where there is one), a fifth of them to test on, weighted F1.

    The model is frozen; its final states are averaged over all positions, pads of EOS up to the longest text
    included, and scikit-learn's logistic regression is fitted on them as it comes: unscaled, for at most 100 steps.
    Whether those were enough is in `converged`. The intervals are ours: the paper has none, nor the model as it is.
    Edits are what they are; the paper's leave out the pre-encoder bias. Rows of a pair may stand on both sides of the
    split: what was learned of a sentence is wrong of its corruption, which pulls ScaLA below chance.

    Args:
        lm: the model.
        site: where it is edited.
        units: what is edited there.
        task: the labelled texts.
        edits: each is an arm, beside the model itself and, where one is spliced, the splice without an edit.
        name: of the units.
        draws: resamples behind an interval.
        seed: theirs.
        progress: called with the share that is done.

    Raises:
        GlossaeError: an edit does not fit, the tokenizer has no EOS, or the rows have one label only.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    arms = arms_of(edits, name, kind_of(units))
    rows = task.splits.get("full_train", task.train)[:CODED_TASK_ROWS]
    labels = np.array([task.labels.index(row.label) for row in rows], dtype=np.int64)
    learned, tried = train_test_split(
        np.arange(len(rows)), test_size=CODED_TEST_SHARE, random_state=CODED_SEED
    )
    if len(np.unique(labels[learned])) < 2:
        raise GlossaeError(f"{task.source}: the first {len(rows)} rows of train have one label only")
    tokens = encode_texts(lm, rows, name=task.name, language=task.language, max_tokens=lm.max_positions)
    states = padded_states(
        lm, site, tokens, compiled_arms(arms, units), progress=lambda share: progress(0.9 * share)
    )
    said, converged = [], []
    for number, own in enumerate(states, 1):
        model = LogisticRegression(random_state=0)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(own[learned], labels[learned])
        converged.append(not any(issubclass(one.category, ConvergenceWarning) for one in heard))
        said.append(model.predict(own[tried]))
        progress(0.9 + 0.1 * number / len(states))
    compared = by_bootstrap(
        labels[tried],
        np.stack(said)[:, None].astype(np.int64),
        [rows[place].pair for place in tried],
        [arm.base for arm in arms],
        METRICS["weighted_f1"],
        labels=len(task.labels),
        draws=draws,
        seed=seed,
    )
    return score_rows(
        task,
        arms,
        compared,
        protocol="as_coded",
        metric="weighted_f1",
        n_train=len(learned),
        n_test=len(tried),
        converged=converged,
        penalty=1.0,
    )
