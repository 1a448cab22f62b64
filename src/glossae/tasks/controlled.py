"""A task under edits, without the known flaws of the paper's experiment."""

from collections.abc import Callable, Sequence

import numpy as np

from glossae.effects import Edit
from glossae.lm import MAX_TOKENS, LanguageModel, Site
from glossae.sae import Sae
from glossae.tasks.arms import Arm, arms_of, compiled_arms, kind_of
from glossae.tasks.comparing import by_bootstrap, by_splits
from glossae.tasks.erasing import erase_labels
from glossae.tasks.features import encode_texts, pooled_states
from glossae.tasks.metrics import METRICS, Metric, confusion
from glossae.tasks.regression import choose_penalty, fit_predict
from glossae.tasks.rows import TaskScore, score_rows
from glossae.tasks.splitting import divide
from glossae.text import Task
from glossae.units import Units

CONTROLLED: tuple[Metric, ...] = ("macro_f1", "mcc")


def controlled(
    lm: LanguageModel,
    site: Site,
    units: Sae | Units,
    task: Task,
    edits: Sequence[Edit],
    *,
    name: str = "",
    planted: bool = False,
    rows: int = 4000,
    draws: int = 1000,
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
    prefix: Sequence[int] = (),
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[TaskScore]:
    """How well a task can be read off the final state, with each edit in place and without.

    Features are the mean final state over a text's tokens, scaled; a logistic regression is solved to the end on
    them, for every arm with the C that cross-validation chose on the model as it is. Where the task has test rows,
    those are predicted, and pairs of rows resampled for intervals; else ten random splits are compared with a
    corrected t (the C is then chosen on the first one's rows to learn from).

    Args:
        lm: the model, which stays as it is.
        site: where it is edited.
        units: what is edited there.
        task: the labelled texts.
        edits: each is an arm, beside the model itself and, where one is spliced, the splice without an edit.
        name: of the units.
        planted: add an arm, units `label`, in which the labels' own directions are erased at the site (`erase_labels`):
            what the test makes of an effect that is known to be there.
        rows: at most so many, to learn from and to test on together.
        draws: resamples behind an interval.
        seed: of what is drawn at random.
        max_tokens: texts are cut to.
        prefix: the tokens before each text, such as `lm.prefix`; they are not in the mean.
        budget: tokens in a batch.
        progress: called with the share that is done.

    Raises:
        GlossaeError: an edit does not fit, or there are too few rows of a label.
    """
    arms = arms_of(edits, name, kind_of(units))
    division = divide(task, rows=rows, seed=seed)
    tokens = encode_texts(
        lm, division.rows, name=task.name, language=task.language, max_tokens=max_tokens, prefix=prefix
    )
    fns = compiled_arms(arms, units)
    if planted:
        directions, erase = erase_labels(
            lm, site, task, rows=rows, seed=seed, max_tokens=max_tokens, prefix=prefix, budget=budget
        )
        arms.append(Arm(erase, 0, "label", directions.kind))
        fns.append(erase.compile(directions))
    states = pooled_states(
        lm,
        site,
        tokens,
        fns,
        positions=[arm.positions for arm in arms],
        budget=budget,
        progress=lambda share: progress(0.7 * share),
    )
    labels, count = division.labels, len(task.labels)
    learned, tried = division.splits[0]
    penalty = choose_penalty(states[0][learned], labels[learned], division.groups[learned], seed=seed)
    said, converged = [], [True] * len(arms)
    for number, (train, test) in enumerate(division.splits, 1):
        found = [fit_predict(own[train], labels[train], own[test], penalty) for own in states]
        said.append(np.stack([predictions for predictions, _ in found]))
        converged = [before and now for before, (_, now) in zip(converged, found, strict=True)]
        progress(0.7 + 0.3 * number / len(division.splits))
    bases = [arm.base for arm in arms]
    result: list[TaskScore] = []
    for metric in CONTROLLED:
        measure = METRICS[metric]
        if len(division.splits) == 1:
            groups = [division.names[place] for place in tried]
            compared = by_bootstrap(
                labels[tried], said[0][:, None], groups, bases, measure, labels=count, draws=draws, seed=seed
            )
        else:
            scores = np.array(
                [
                    [float(measure(confusion(labels[test], own, count))) for own in predictions]
                    for (_, test), predictions in zip(division.splits, said, strict=True)
                ]
            )
            compared = by_splits(scores, bases, train=len(learned), test=len(tried))
        result += score_rows(
            task,
            arms,
            compared,
            protocol="controlled",
            metric=metric,
            n_train=len(learned),
            n_test=len(tried),
            splits=len(division.splits),
            converged=converged,
            penalty=penalty,
        )
    return result
