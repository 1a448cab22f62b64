"""A planted effect: the directions at a site along which a task's labels differ, and the edit that erases them."""

from collections.abc import Sequence

import numpy as np
import torch

from glossae.effects import Edit
from glossae.lm import MAX_TOKENS, LanguageModel, Site, activations, batches
from glossae.tasks.features import encode_texts
from glossae.tasks.splitting import divide
from glossae.text import Task
from glossae.units import Directions


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

    A text counts by the mean over its tokens. Afterwards the labels have the same mean at the site on the rows that
    are learned from, so that no linear reading of a text's mean there does better than a constant on them (Belrose
    et al. 2023, *LEACE*, theorem 3.1). Labels that can be read off the final state all the same come from elsewhere.

    Args:
        lm: the model.
        site: where.
        task: the labelled texts; of a task without test rows, the rows that the first split learns from.
        rows: as for `controlled`. seed, max_tokens, prefix, budget: likewise.

    Raises:
        GlossaeError: two labels have the same mean, or there are too few rows of a label.
    """
    division = divide(task, rows=rows, seed=seed)
    learned, _ = division.splits[0]
    used = [division.rows[place] for place in learned]
    tokens = encode_texts(
        lm, used, name=task.name, language=task.language, max_tokens=max_tokens, prefix=prefix
    )
    means = np.zeros((len(tokens), lm.width(site)))
    for seen in activations(lm, batches(tokens, budget), [site]):
        x = seen.sites[site].double()
        place = seen.sentence.cpu().numpy()
        np.add.at(means, place, x.cpu().numpy())
    means /= np.maximum(tokens.lengths, 1)[:, None]
    labels = division.labels[learned]
    centres = np.stack([means[labels == label].mean(0) for label in range(len(task.labels))])
    vectors = torch.from_numpy(centres[1:] - centres[0])
    names = [f"{label} against {task.labels[0]}" for label in task.labels[1:]]
    units = Directions(names, vectors, torch.zeros(len(vectors), dtype=torch.float64), site=site)
    return units, Edit.project_to(units, range(len(units)), torch.from_numpy(centres.mean(0)))
