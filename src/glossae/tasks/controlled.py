"""Score a task under edits from the final state, without the known flaws of the paper's experiment."""

import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from glossae import ranks
from glossae.corpora import Corpus, Example, Sentence, Task
from glossae.effects import Edit, Step, Sweep, UnitSet, compile_steps
from glossae.errors import GlossaeError
from glossae.lm import (
    MAX_TOKENS,
    Batch,
    LanguageModel,
    Pool,
    Reader,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    final_states,
    mean_over_text,
    replay,
    tokenize,
)
from glossae.results import TaskScore
from glossae.sae import Sae
from glossae.tasks.scoring import (
    METRICS,
    Metric,
    bases,
    by_bootstrap,
    by_splits,
    confusion,
    divide,
    macro_f1,
    score_rows,
    task_set,
)
from glossae.units import Directions, Units

States = Float[np.ndarray, "edits rows d"]

CONTROLLED: tuple[Metric, ...] = ("macro_f1", "mcc")
# inverse penalties C that are tried, from strong to weak penalties, on features of variance 1
PENALTIES = tuple(float(c) for c in np.geomspace(1e-6, 1, 7))
FOLDS = 5
# far more iterations than the solver needs on scaled features
MAX_ITERATIONS, TOLERANCE = 10_000, 1e-5


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
    """Score a task from the final state, under each edit and without.

    Features are the mean final state over a text's tokens, scaled. A logistic regression on them is solved to
    the optimum, in every arm with the C that cross-validation chose on the unedited model. If the task has
    test rows, those are predicted, and pairs of rows resampled for intervals; otherwise ten random splits are
    compared with a corrected t (C is then chosen on the training rows of the first split).

    Args:
        edits: each is an arm, besides the unedited model and, if an edit is spliced, the splice without an
            edit.
        planted: add an arm, units `label`, in which the labels' own directions are erased at the site
            (`erase_labels`): an effect that is known to exist, to see whether the test finds it.
        rows: the most rows, for training and testing in all.
        prefix: the tokens before each text, such as `lm.prefix`; they are not in the mean.

    Raises:
        GlossaeError: an edit does not fit, or there are too few rows of a label.
    """
    sets = [task_set(units, edits, name)]
    division = divide(task, rows=rows, seed=seed)
    tokens = encode_texts(lm, division.rows, task=task, max_tokens=max_tokens, prefix=prefix)
    if planted:
        directions, erase = erase_labels(
            lm, site, task, rows=rows, seed=seed, max_tokens=max_tokens, prefix=prefix, budget=budget
        )
        sets.append(UnitSet("label", directions, sweep=[Step(directions, erase)]))
    steps = [step for own in sets for step in own.sweep]
    states = pooled_states(
        lm, site, tokens, steps, budget=budget, progress=lambda share: progress(0.7 * share)
    )
    labels, count = division.labels, len(division.splits)
    learned, tried = division.splits[0]
    penalty = choose_penalty(states[0][learned], labels[learned], division.groups[learned], seed=seed)
    predicted, converged = [], [True] * len(steps)
    for number, (train, test) in enumerate(division.splits, 1):
        found = [fit_predict(own[train], labels[train], own[test], penalty) for own in states]
        predicted.append(np.stack([predictions for predictions, _ in found]))
        converged = [before and now for before, (_, now) in zip(converged, found, strict=True)]
        progress(0.7 + 0.3 * number / count)
    result: list[TaskScore] = []
    for metric in CONTROLLED:
        if count == 1:
            groups = division.groups[tried].astype(str).tolist()
            compared = by_bootstrap(
                labels[tried],
                predicted[0][:, None],
                groups,
                bases(steps),
                metric,
                labels=len(task.labels),
                draws=draws,
                seed=seed,
            )
        else:
            scores = [
                [
                    float(METRICS[metric](confusion(labels[test], own, len(task.labels))))
                    for own in predictions
                ]
                for (_, test), predictions in zip(division.splits, predicted, strict=True)
            ]
            compared = by_splits(np.array(scores), bases(steps), train=len(learned), test=len(tried))
        result += score_rows(
            task,
            sets,
            compared,
            converged,
            protocol="controlled",
            metric=metric,
            n_train=len(learned),
            n_test=len(tried),
            splits=count,
            penalty=penalty,
        )
    return result


def erase_labels(
    lm: LanguageModel,
    site: Site,
    task: Task,
    *,
    rows: int = 4000,
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
    prefix: Sequence[int] = (),
    budget: int = 1024,
) -> tuple[Directions, Edit]:
    """The differences between labels' mean activations, and the edit that sets every token to the mean along them.

    A text counts by the mean over its tokens. Afterwards the labels have the same mean at the site on the
    training rows, so that no linear classifier of a text's mean at the site does better than a constant on
    them (Belrose et al. 2023, *LEACE*, theorem 3.1). If the final state still predicts the labels, the
    information comes from elsewhere.

    Args:
        task: the labelled texts; for a task without test rows, the training rows of the first split.

    Raises:
        GlossaeError: two labels have the same mean, or there are too few rows of a label.
    """
    division = divide(task, rows=rows, seed=seed)
    learned, _ = division.splits[0]
    used = [division.rows[place] for place in learned]
    tokens = encode_texts(lm, used, task=task, max_tokens=max_tokens, prefix=prefix)
    means = np.zeros((len(tokens), lm.width(site)))
    for seen in activations(lm, batches(tokens, budget), [site]):
        np.add.at(means, seen.sentence.cpu().numpy(), seen.sites[site].double().cpu().numpy())
    means /= np.maximum(tokens.lengths, 1)[:, None]
    labels = division.labels[learned]
    centres = np.stack([means[labels == label].mean(0) for label in range(len(task.labels))])
    vectors = torch.from_numpy(centres[1:] - centres[0])
    names = [f"{label} against {task.labels[0]}" for label in task.labels[1:]]
    units = Directions(names, vectors, torch.zeros(len(vectors), dtype=torch.float64), site=site)
    return units, Edit.project_to(units, range(len(units)), torch.from_numpy(centres.mean(0)))


def encode_texts(
    lm: LanguageModel,
    rows: Sequence[Example],
    *,
    task: Task,
    max_tokens: int = MAX_TOKENS,
    prefix: Sequence[int] = (),
) -> TokenizedCorpus:
    """Token ids of every row of a task, in order, cut to `max_tokens`; unlike `glossae.lm.tokenize`, it drops no row.

    Raises:
        GlossaeError: a text has no tokens, or the prefix leaves no token.
    """
    sentences = [Sentence(row.text, task.language, row.pair, task.name) for row in rows]
    tokens = tokenize(lm, Corpus.of(sentences), max_tokens=max_tokens, prefix=prefix, least=1)
    if len(tokens) < len(sentences):
        kept = iter(tokens.corpus.sentences)
        lost = next(sentence for sentence in sentences if next(kept, None) is not sentence)
        raise GlossaeError(f"{task.name}: {lost.text[:60]!r} has no tokens in {lm.name}")
    return tokens


def pooled_states(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    steps: Sweep,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> States:
    """The mean final hidden state over each text's tokens, without pads, under each edit.

    The part below the site is computed once for all edits.

    Raises:
        GlossaeError: the model lacks the site, or an edit does not fit it.
    """
    count = len(of := list(batches(tokens, budget)))
    done = ((batch, number / count) for number, batch in enumerate(of, 1))
    return states_under(lm, site, steps, done, len(tokens), final_states, mean_over_text, progress)


@torch.no_grad()
def states_under(
    lm: LanguageModel,
    site: Site,
    steps: Sweep,
    text_batches: Iterable[tuple[Batch, float]],
    rows: int,
    read: Reader,
    pool: Pool,
    progress: Callable[[float], None],
) -> States:
    """The states of batches of texts under each edit, float32; in joint work each rank runs its own batches.

    Args:
        text_batches: the batches, each with the finished share after it.
    """
    fns = compile_steps(steps)
    found: np.ndarray | None = None
    with replay(lm, site, read) as run:
        for batch, share in ranks.mine(text_batches):
            own = run.begin(batch)
            for number, (step, fn) in enumerate(zip(steps, fns, strict=True)):
                states = own if fn is None or step.edit is None else run.under(fn, step.edit.positions)
                assert states is not None
                pooled = pool(batch, states).cpu().numpy()
                if found is None:
                    found = np.zeros((len(fns), rows, pooled.shape[1]), dtype=np.float32)
                found[number, batch.index.numpy()] = pooled
            progress(share)
    # a rank without a batch does not know the width
    width = max(ranks.meet(f"states of {rows} texts", 0 if found is None else found.shape[2]))
    if found is None:
        found = np.zeros((len(fns), rows, width), dtype=np.float32)
    ranks.sum_arrays(f"states under {len(fns)} edits", found)
    return found


def fit_predict(
    train: Float[np.ndarray, "train d"],
    labels: Int[np.ndarray, " train"],
    test: Float[np.ndarray, "test d"],
    penalty: float,
) -> tuple[Int[np.ndarray, " test"], bool]:
    """Fit a logistic regression on `train` and predict `test`; also returns whether the solver converged.

    Features are scaled to mean 0 and variance 1 on `train`; a constant one stays 0. `penalty` is C, the
    inverse of the penalty's strength.
    """
    scaled, other = _scaled(train, test)
    return fit_unscaled(scaled, labels, other, C=penalty, max_iter=MAX_ITERATIONS, tol=TOLERANCE)


def check_rows(
    lm: LanguageModel, task: Task, *, rows: int, seed: int, max_tokens: int, prefix: tuple[int, ...]
) -> None:
    """Check that a task has the rows that `controlled` needs, without running the model.

    Raises:
        GlossaeError: there are too few rows of a label, or one has no tokens.
    """
    division = divide(task, rows=rows, seed=seed)
    learned, _ = division.splits[0]
    _check_folds(division.labels[learned], division.groups[learned])
    encode_texts(lm, division.rows, task=task, max_tokens=max_tokens, prefix=prefix)


def _check_folds(labels: Int[np.ndarray, " rows"], groups: Int[np.ndarray, " rows"]) -> None:
    fewest = min(len(np.unique(groups[labels == label])) for label in range(int(labels.max()) + 1))
    if fewest < FOLDS:
        raise GlossaeError(
            f"tasks: a label has {fewest} rows to learn from, and cross-validation needs {FOLDS}"
        )


def choose_penalty(
    features: Float[np.ndarray, "rows d"],
    labels: Int[np.ndarray, " rows"],
    groups: Int[np.ndarray, " rows"],
    *,
    seed: int,
) -> float:
    """The C with the largest macro F1 over five held-out folds, the smallest such C; pairs stay in one fold.

    Log-loss would not do: where little can be learnt, it favours predicting the commoner label for everything.

    Raises:
        GlossaeError: a label has fewer pairs than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _check_folds(labels, groups)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    scores, count = np.zeros(len(PENALTIES)), int(labels.max()) + 1
    for train, test in folds.split(features, labels, groups):
        scaled, other = _scaled(features[train], features[test])
        for place, penalty in enumerate(PENALTIES):
            predicted, _ = fit_unscaled(
                scaled, labels[train], other, C=penalty, max_iter=MAX_ITERATIONS, tol=TOLERANCE
            )
            scores[place] += float(macro_f1(confusion(labels[test], predicted, count)))
    return PENALTIES[int(scores.argmax())]


def _scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import StandardScaler

    # float64, in which the mean of many float32 rows is exact enough to be the same on any machine
    scaler = StandardScaler().fit(train.astype(np.float64))
    return scaler.transform(train.astype(np.float64)), scaler.transform(test.astype(np.float64))


def fit_unscaled(
    features: np.ndarray, labels: np.ndarray, test: np.ndarray, **options: float
) -> tuple[Int[np.ndarray, " test"], bool]:
    """The predictions of scikit-learn's logistic regression for `test`, and whether its solver converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(**options)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, labels)
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in heard)
    return model.predict(test).astype(np.int64), converged
