"""What tests of probes share."""

import pytest

from glossae.probing import sample_sentences


@pytest.fixture(scope="session")
def sample(tiny_tokens):
    """All of the tiny corpus, split twice."""
    return sample_sentences(tiny_tokens, ("da", "en"), 10_000, seeds=2, seed=0)
