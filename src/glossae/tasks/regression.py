"""Logistic regression on scaled features, solved to the end."""

import warnings

import numpy as np
from jaxtyping import Float, Int

from glossae.errors import GlossaeError
from glossae.tasks.metrics import confusion, macro_f1

# strengths of the penalty that are tried, from strong to weak, on features of variance 1
PENALTIES = tuple(float(c) for c in np.geomspace(1e-6, 1, 7))
FOLDS = 5
# far more than the solver needs on scaled features
MAX_ITERATIONS, TOLERANCE = 10_000, 1e-5


def fit_predict(
    train: Float[np.ndarray, "train d"],
    labels: Int[np.ndarray, " train"],
    test: Float[np.ndarray, "test d"],
    penalty: float,
) -> tuple[Int[np.ndarray, " test"], bool]:
    """What a regression fitted on `train` says of `test`, and whether its solver converged.

    Features are scaled to mean 0 and variance 1 on `train`; one that never varies stays 0.

    Args:
        train: rows to learn from.
        labels: theirs.
        test: rows to test on.
        penalty: C, the inverse of the penalty's strength.
    """
    scaled, other = _scaled(train, test)
    model, converged = _fitted(scaled, labels, penalty)
    return model.predict(other).astype(np.int64), converged


def choose_penalty(
    features: Float[np.ndarray, "rows d"],
    labels: Int[np.ndarray, " rows"],
    groups: Int[np.ndarray, " rows"],
    *,
    seed: int,
) -> float:
    """The C with the largest macro F1 over five held-out folds, the smallest such C; pairs stay in one fold.

    It is not chosen by log-loss, by which saying the commoner label of everything wins where little can be learned.

    Raises:
        GlossaeError: a label has fewer pairs than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = int(labels.max()) + 1
    fewest = min(len(np.unique(groups[labels == label])) for label in range(count))
    if fewest < FOLDS:
        raise GlossaeError(
            f"tasks: a label has {fewest} rows to learn from, and cross-validation needs {FOLDS}"
        )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    scores = np.zeros(len(PENALTIES))
    for train, test in folds.split(features, labels, groups):
        scaled, other = _scaled(features[train], features[test])
        for place, penalty in enumerate(PENALTIES):
            model, _ = _fitted(scaled, labels[train], penalty)
            table = confusion(labels[test], model.predict(other).astype(np.int64), count)
            scores[place] += float(macro_f1(table))
    return PENALTIES[int(scores.argmax())]


def _scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import StandardScaler

    # float64, in which a mean of many rows of float32 is exact enough to be the same on any machine
    scaler = StandardScaler().fit(train.astype(np.float64))
    return scaler.transform(train.astype(np.float64)), scaler.transform(test.astype(np.float64))


def _fitted(features: np.ndarray, labels: np.ndarray, penalty: float) -> tuple["LogisticRegression", bool]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=penalty, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, labels)
    return model, not any(issubclass(warning.category, ConvergenceWarning) for warning in said)
