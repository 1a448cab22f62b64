"""False discovery rates: those of the step-up procedures, and of scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from glossae.find import q_values

P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), min_size=1, max_size=40)


@given(P_VALUES, st.floats(0.001, 0.999))
def test_q_values_say_what_the_step_up_procedure_rejects(p, level):
    p = np.array(p)
    order = np.sort(p)
    tests = len(p)
    for dependence, price in (("positive", 1.0), ("any", (1 / np.arange(1, tests + 1)).sum())):
        q = q_values(p, dependence=dependence)
        passing = np.flatnonzero(order * tests * price / np.arange(1, tests + 1) <= level)
        limit = order[passing[-1]] if len(passing) else -1.0
        np.testing.assert_array_equal(q <= level, p <= limit)
        assert (q >= p - 1e-15).all()


@pytest.mark.parametrize(("dependence", "method"), [("positive", "bh"), ("any", "by")])
@given(p=P_VALUES)
def test_q_values_are_scipys(dependence, method, p):
    p = np.array(p)
    expected = false_discovery_control(p, method=method)
    np.testing.assert_allclose(q_values(p, dependence=dependence), expected, rtol=1e-12, atol=1e-300)


@given(P_VALUES, st.randoms(use_true_random=False))
def test_the_order_of_tests_says_nothing(p, random):
    order = list(range(len(p)))
    random.shuffle(order)
    p = np.array(p)
    np.testing.assert_array_equal(q_values(p[order]), q_values(p)[order])


def test_q_values_of_nothing_are_none():
    assert q_values(np.zeros(0)).tolist() == []
