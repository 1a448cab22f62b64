"""The paper's optimisation of its probes, replayed: the steps are its own, and so is the artefact."""

import dataclasses

import numpy as np
import pytest
import torch

from glossae.paper import as_coded_table, paper_batches, replay_layers

# the two steps are seen outside only as the cells that they end in
from glossae.paper.probes import BATCH_SENTENCES, _batches, linear_start, replay
from glossae.probing import ProbePath, StoredLayers

PENALTIES = [1e-3, 0.05, 1e3]


def replayed(lm, sample, seed=5):
    return replay_layers(lm, sample, site="resid", reference="en", penalties=PENALTIES, seed=seed, budget=200)


@pytest.fixture(scope="module")
def cells(tiny_lm, sample):
    """The tiny model's probes, replayed."""
    return replayed(tiny_lm, sample)


def world(rows=300, d=12, seed=0):
    """Activations of two classes that differ in their mean."""
    generator = np.random.default_rng(seed)
    english = generator.random(rows) < 0.5
    x = generator.normal(size=(rows, d)) + 0.8 * english[:, None]
    return torch.from_numpy(x).float(), torch.from_numpy(english)


# ---- the steps


def test_the_first_weights_are_those_of_a_linear_layer():
    own = linear_start(64, 400, np.random.default_rng(0)).numpy()
    theirs = torch.nn.Linear(64, 400)
    assert own.shape == (400, 65)
    assert np.abs(own).max() <= 1 / 8
    assert np.abs(own).max() == pytest.approx(float(theirs.weight.detach().abs().max()), rel=1e-3)
    assert own.std() == pytest.approx(float(theirs.weight.detach().std()), rel=0.02)
    # the paper's logs begin at 0.577, whatever the width
    assert np.linalg.norm(own, axis=1).mean() == pytest.approx(0.577, abs=0.01)


def test_the_first_step_is_that_of_the_papers_logs():
    # at lambda 30 and a width of 8,192 the norm falls from 0.577 to 0.501: Adam's sign step of 0.001
    x, english = world(40, 8192)
    start = linear_start(8192, 1, np.random.default_rng(1))
    after = replay(0.05 * x, english, [torch.arange(40)], [30.0], start)
    assert float(start.norm()) == pytest.approx(0.577, abs=0.003)
    assert float(after.norm()) == pytest.approx(0.501, abs=0.003)


def test_steps_are_those_of_a_linear_layer_trained_by_itself():
    x, english = world()
    generator = np.random.default_rng(2)
    batches = [torch.from_numpy(generator.integers(0, 300, 50)) for _ in range(40)]
    start = linear_start(12, 2, generator)
    both = replay(x, english, batches, [0.01, 0.4], start)
    for place, penalty in enumerate([0.01, 0.4]):
        probe = torch.nn.Linear(12, 1)
        with torch.no_grad():
            probe.weight.copy_(start[place, None, :-1])
            probe.bias.copy_(start[place, -1:])
        optimizer = torch.optim.Adam(probe.parameters(), lr=1e-3)
        for rows in batches:
            optimizer.zero_grad()
            answer = torch.sigmoid(probe(x[rows])[:, 0])
            norm = torch.cat([probe.weight.flatten(), probe.bias]).norm()
            (
                torch.nn.functional.binary_cross_entropy(answer, english[rows].float()) + penalty * norm
            ).backward()
            optimizer.step()
        alone = torch.cat([probe.weight.detach().flatten(), probe.bias.detach()])
        torch.testing.assert_close(both[place], alone, rtol=1e-4, atol=1e-6)


def test_with_steps_enough_it_comes_to_the_optimum():
    x, english = world()
    rows = torch.arange(300)
    weights = torch.full((300, 1), 1 / 300, dtype=torch.float64)
    path = ProbePath(x, english.double(), weights, penalise_bias=True)
    alive, dead = 0.2 * float(path.critical_penalty), 1.5 * float(path.critical_penalty)
    (optimum,) = path.solve([torch.tensor([alive], dtype=torch.float64)])
    start = linear_start(12, 2, np.random.default_rng(3))
    found = replay(x, english, [rows] * 4000, [alive, dead], start)
    torch.testing.assert_close(found[0, :-1].double(), optimum.weight[:, 0], rtol=0.01, atol=0.003)
    # where the optimum is zero it trembles about it, at about the length of a step, and never gets there
    assert 0 < float(found[1].norm()) < 0.01


def test_batches_are_32_fitted_sentences_with_all_their_tokens():
    generator = np.random.default_rng(4)
    sizes = generator.integers(1, 9, size=90)
    sentence = torch.from_numpy(generator.permutation(np.repeat(np.arange(90), sizes)))
    held_out = generator.random(90) < 0.2
    stored = StoredLayers(
        {}, sentence, sentence, sentence > 40, torch.from_numpy(held_out)[sentence][:, None]
    )
    order = list(_batches(stored, held_out, 501, np.random.default_rng(0)))
    assert len(order) == 501
    assert len(list(_batches(stored, held_out, 2, np.random.default_rng(0)))) == 2
    fitted = int((~held_out).sum())
    for rows in order[: fitted // BATCH_SENTENCES]:
        inside = sentence[rows].unique()
        assert len(inside) == BATCH_SENTENCES
        assert not held_out[inside.numpy()].any()
        assert len(rows) == sizes[inside.numpy()].sum()
        assert len(rows.unique()) == len(rows)
    # every sentence comes before one comes again
    seen = torch.cat(order[: fitted // BATCH_SENTENCES])
    assert len(seen.unique()) == len(seen)


@pytest.mark.parametrize(
    ("model", "batches"),
    [
        ("EleutherAI/pythia-14m", 329),
        ("EleutherAI/pythia-70m@step1000", 509),
        ("EleutherAI/pythia-70m@refs/pr/1", 509),
        ("models@home/pythia-160m/", 544),
        ("EleutherAI/pythia-410m", 501),
        ("EleutherAI/pythia-1b", 501),
        ("EleutherAI/pythia-1.4b", 501),
        ("EleutherAI/pythia-2.8b", 501),
        # the paper did not probe these
        ("EleutherAI/pythia-14m-deduped", 501),
        ("toy", 501),
    ],
)
def test_a_model_gets_as_many_batches_as_in_the_papers_code(model, batches):
    assert paper_batches(model) == batches


# ---- the cells


def test_there_is_a_cell_for_every_layer_lambda_and_seed(cells, sample, tiny_lm):
    assert [(cell.layer, cell.seed, cell.penalty) for cell in cells] == [
        (layer, seed, penalty) for layer in range(3) for seed in range(2) for penalty in PENALTIES
    ]
    english = np.array([s.language == "en" for s in sample.tokens.corpus.sentences])
    for cell in cells:
        assert (cell.model, cell.protocol, cell.batches) == (tiny_lm.name, "as_coded", 501)
        held_out = sample.held_out[cell.seed]
        lengths = sample.tokens.lengths
        assert cell.tokens == lengths[~held_out].sum()
        share = lengths[held_out & english].sum() / lengths[held_out].sum()
        assert cell.constant == pytest.approx(max(share, 1 - share))


def test_below_the_critical_lambda_the_replay_learns_and_beyond_it_is_noise(cells):
    dead = [cell for cell in cells if cell.collapsed]
    assert {cell.penalty for cell in dead} >= {1e3}
    for cell in cells:
        assert cell.collapsed == (cell.optimum_norm == 0) == (cell.penalty >= cell.critical_lambda)
    for cell in dead:
        # a norm that is not zero, a loss that is that of knowing nothing
        assert 0 < cell.norm < 0.05
        assert cell.bce == pytest.approx(np.log(2), abs=0.01)
    for cell in cells:
        if not cell.collapsed:
            # 501 short steps are on their way to the optimum, not there
            assert 0.577 < cell.norm < cell.optimum_norm
            assert cell.bce < 0.65
            assert cell.accuracy > cell.constant + 0.05


def test_noise_still_classifies():
    # a probe whose optimum is zero should give one answer; its tremor says which side of a plane a token is on
    found = []
    for seed in range(30):
        x, english = world(400, 12, seed=1)
        generator = np.random.default_rng(seed)
        batches = [torch.from_numpy(generator.integers(0, 400, 30)) for _ in range(60)]
        beta = replay(x, english, batches, [30.0], 0.05 * linear_start(12, 1, generator))[0]
        found.append(float((((x @ beta[:-1] + beta[-1]) > 0) == english).double().mean()))
    assert np.ptp(found) > 0.3
    assert max(found) > 0.6


def test_the_cells_of_a_model_of_the_paper_are_stepped_on_its_batches(tiny_lm, sample, cells):
    named = dataclasses.replace(tiny_lm, name="EleutherAI/pythia-14m")
    fewer = replayed(named, sample)
    assert {cell.batches for cell in fewer} == {row.batches for row in as_coded_table(fewer)} == {329}
    # from the same weights, fewer steps of 0.001 lead less far
    grown = [(few.norm, many.norm) for few, many in zip(fewer, cells, strict=True) if not few.collapsed]
    assert all(0.577 < few < many for few, many in grown)


def test_the_replay_is_seeded(tiny_lm, sample, cells):
    assert replayed(tiny_lm, sample) == cells
    assert [cell.norm for cell in replayed(tiny_lm, sample, seed=6)] != [cell.norm for cell in cells]


def test_the_table_is_means_over_seeds_beside_the_optimum(cells):
    rows = as_coded_table(cells)
    assert [(row.layer, row.penalty) for row in rows] == [(layer, p) for layer in range(3) for p in PENALTIES]
    for row in rows:
        of = [c for c in cells if (c.layer, c.penalty) == (row.layer, row.penalty)]
        assert row.seeds == len(of) == 2
        for name in ("accuracy", "norm", "optimum_norm", "critical_lambda", "bce", "constant"):
            assert getattr(row, name) == pytest.approx(np.mean([getattr(cell, name) for cell in of]))
        assert (row.accuracy_low, row.accuracy_high) == (
            min(c.accuracy for c in of),
            max(c.accuracy for c in of),
        )
        assert row.collapsed == all(cell.collapsed for cell in of)
    half = [cells[0].model_copy(update={"collapsed": zero}) for zero in (True, False)]
    assert as_coded_table(half)[0].collapsed is False
