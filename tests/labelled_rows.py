"""Labelled sentences in Danish and English, for tests of tasks."""

import numpy as np

from glossae.corpora import Row

WORDS = {"fruit": ["æblet", "the apple", "det"], "ride": ["en blå cykel", "a blue bicycle", "cykel"]}


def rows(count, seed, noise=0.1):
    """Sentences that end in one word or the other, some of them with the wrong label."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        label = ("fruit", "ride")[number % 2]
        word = generator.choice(WORDS[label])
        start = generator.choice(["Pigen så", "Han købte", "She saw", "Vores nabo", "Our old neighbour"])
        shown = label if generator.random() > noise else ("ride", "fruit")[number % 2]
        found.append(Row(f"{start} {word} {1000 * seed + number}", shown, f"line {number}"))
    return found
