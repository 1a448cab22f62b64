"""Small sentence tables, from dense arrays and at random."""

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import csc_array

from glossae.units import SentenceTable


def table_of(values, languages, *, fired=None, tokens=None, pairs=None):
    """A table of dense values `(sentences, units)`; fires once wherever a value is not 0, if nothing else is said."""
    values = np.asarray(values, dtype=np.float32)
    sentences = len(values)
    fired = (values != 0) if fired is None else np.asarray(fired)
    return SentenceTable(
        values=csc_array(values),
        fired=csc_array(fired.astype(np.int32)),
        tokens=np.full(sentences, 10) if tokens is None else np.asarray(tokens),
        languages=np.array(languages),
        sources=np.full(sentences, "tiny"),
        pairs=np.array([f"pair-{i}" for i in range(sentences)]) if pairs is None else np.array(pairs),
        identity="latent resid-1 abc",
    )


@st.composite
def tables(draw, languages=("da", "en", "sv"), units=4):
    """Tables with many zeros, ties and negative values; every language has a sentence."""
    more = draw(st.lists(st.sampled_from(languages), max_size=20))
    names = draw(st.permutations([*languages, *more]))
    value = st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, -1.0, 0.25]) | st.floats(-5, 5, width=32)
    rows = draw(
        st.lists(st.lists(value, min_size=units, max_size=units), min_size=len(names), max_size=len(names))
    )
    return table_of(rows, names)


@st.composite
def token_counts(draw, languages=3, units=4, bins=5):
    """Tokens of each language, a histogram of the values where units fire, and how many bins are below zero."""
    tokens = np.array(draw(st.lists(st.integers(1, 60), min_size=languages, max_size=languages)))
    histogram = np.zeros((languages, units, bins), dtype=np.int64)
    for language in range(languages):
        for unit in range(units):
            where = draw(st.lists(st.integers(0, bins - 1), max_size=int(tokens[language])))
            histogram[language, unit] = np.bincount(where, minlength=bins)
    return tokens, histogram, draw(st.integers(0, bins))
