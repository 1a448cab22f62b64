"""Training finds the features that were planted, the same ones every time, and says when it cannot."""

import dataclasses
import math

import pytest
import torch

from glossae.errors import GlossaeError
from glossae.sae import Mixer, Sae, SaeConfig, TrainSettings, train, train_group, untrained

D, FEATURES, ACTIVE = 32, 48, 3
BATCH, STEPS = 256, 300
CONFIG = SaeConfig(d_in=D, latents=64, k=ACTIVE)
SETTINGS = TrainSettings(steps=STEPS, tokens=STEPS * BATCH)


def unit_rows(count, seed=100):
    # another seed than the trainings': their first weights would be the features themselves
    rows = torch.randn(count, D, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def planted(steps=STEPS, *, seed=1, mean=0.5, scale=1.0):
    """Batches of sparse sums of `FEATURES` directions, around a mean."""
    features, generator = unit_rows(FEATURES), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.rand(BATCH, FEATURES, generator=generator).topk(ACTIVE, dim=1).indices
        strength = 1 + torch.rand(BATCH, ACTIVE, generator=generator)
        yield scale * (torch.zeros(BATCH, FEATURES).scatter_(1, chosen, strength) @ features + mean)


def fvu(sae, x):
    return float((sae(x) - x).square().sum() / (x - x.mean(0)).square().sum())


@pytest.fixture(scope="module")
def trained():
    """(autoencoder, log) of the planted features."""
    return train(CONFIG, planted(), SETTINGS)


@pytest.fixture(scope="module")
def unseen():
    return torch.cat(list(planted(8, seed=2)))


# ---- what is learnt


def test_planted_features_are_recovered(trained):
    best = (unit_rows(FEATURES) @ trained[0].W_dec.T).max(dim=1).values
    assert (best > 0.9).float().mean() > 0.8


def test_the_reconstruction_is_far_better_than_the_mean(trained, unseen):
    assert fvu(trained[0], unseen) < 0.2


def test_decoder_rows_have_length_one(trained):
    torch.testing.assert_close(trained[0].W_dec.norm(dim=1), torch.ones(64))


def test_a_latents_value_is_the_length_of_what_it_writes(trained, unseen):
    sae, _ = trained
    codes = sae.encode(unseen[:1])
    alone = codes._replace(values=codes.values * torch.tensor([1.0, 0.0, 0.0]))
    written = sae.decode(alone) - sae.b_dec
    torch.testing.assert_close(written.norm(), codes.values[0, 0])


def test_matrices_are_separate(trained):
    sae, _ = trained
    rows = sae.W_enc / sae.W_enc.norm(dim=1, keepdim=True)
    assert not torch.allclose(rows, sae.W_dec, atol=0.01)


def test_the_result_is_for_reading(trained):
    assert not any(parameter.requires_grad for parameter in trained[0].parameters())


@pytest.mark.parametrize("scale", [100.0, 0.01])
def test_the_inputs_scale_is_folded_in(trained, unseen, scale):
    sae, log = trained
    scaled, scaled_log = train(CONFIG, planted(scale=scale), SETTINGS)
    assert fvu(scaled, scale * unseen) == pytest.approx(fvu(sae, unseen), abs=1e-3)
    difference = scaled(scale * unseen) / scale - sae(unseen)
    assert difference.square().mean() < 1e-3 * (unseen - unseen.mean(0)).square().mean()
    # the log is in the site's own units
    assert scaled_log[-1].mse == pytest.approx(scale**2 * log[-1].mse, rel=0.05)
    assert scaled_log[-1].fvu == pytest.approx(log[-1].fvu, abs=1e-3)


def test_a_large_mean_does_no_harm(unseen):
    sae, _ = train(CONFIG, planted(mean=30.0), SETTINGS)
    assert fvu(sae, unseen + 29.5) < 0.25


def test_the_bias_starts_at_the_datas_mean():
    (batch,) = planted(1)
    sae, _ = train(CONFIG, iter([batch]), dataclasses.replace(SETTINGS, lr=0.0))
    torch.testing.assert_close(sae.b_dec, batch.mean(0))


def test_dead_latents_are_revived():
    # large steps kill latents; features that differ in frequency, and more of them in a token than are selected,
    # leave an error to learn from
    features = unit_rows(64)[:, :16]
    frequency = 1 / torch.arange(1, 65).float()

    generator = torch.Generator().manual_seed(0)
    chosen = torch.multinomial(frequency.expand(250 * 200, 64), 4, generator=generator)
    strength = 1 + torch.rand(250 * 200, 4, generator=generator)
    batches = (torch.zeros(250 * 200, 64).scatter_(1, chosen, strength) @ features).split(200)

    def dead(aux_k):
        # of one seed, which latents die is chance
        config = SaeConfig(d_in=16, latents=128, k=2)
        jobs = [
            (config, TrainSettings(steps=250, tokens=250 * 200, lr=0.03, aux_k=aux_k, seed=seed))
            for seed in range(3)
        ]
        trained = train_group(jobs, lambda start: iter(batches[start:]), Mixer(None, 0, generator))
        return sum(log[-1].dead_fraction for _, log in trained) / len(trained)

    before, after = dead(0), dead(None)
    assert before > 0.1
    assert after < 0.7 * before


# ---- the untrained control

KINDS = {
    "topk": CONFIG,
    "topk, no bias": dataclasses.replace(CONFIG, pre_encoder_bias=False),
    "tied": dataclasses.replace(CONFIG, tied=True),
    "batchtopk, nested": dataclasses.replace(CONFIG, activation="batchtopk", matryoshka=(16, 64)),
    "jumprelu": dataclasses.replace(CONFIG, activation="jumprelu"),
    "relu": SaeConfig(d_in=D, latents=64, activation="relu"),
}


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("centre", ["mean", "geometric_median"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_autoencoder_is_the_one_that_training_starts_from(kind, centre, published):
    (batch,) = planted(1, scale=3.0)
    # a step that moves no weight; batchtopk's threshold follows the first batch, and starts there
    settings = TrainSettings(
        steps=1, tokens=BATCH, lr=0.0, aux_k=0, unit_rows=False, centre=centre, seed=7, published=published
    )
    started, _ = train(KINDS[kind], iter([batch]), settings)
    other = untrained(KINDS[kind], batch, seed=7, centre=centre, published=published)
    assert set(other.state_dict()) == set(started.state_dict())
    for name, tensor in started.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=1e-6, atol=1e-9, msg=name)
    assert not any(parameter.requires_grad for parameter in other.parameters())
    assert all(parameter.grad is None for parameter in other.parameters())


@pytest.mark.parametrize("kind", ["batchtopk, nested", "jumprelu"])
def test_an_untrained_autoencoder_fires_as_often_as_was_asked_for(kind, unseen):
    x = 50 * unseen
    sae = untrained(KINDS[kind], x, seed=3)
    assert float((sae.encode(x).values > 0).sum() / len(x)) == pytest.approx(ACTIVE, abs=0.01)


def test_untrained_rows_are_random_by_seed_and_have_length_one(unseen):
    first, again, other = (untrained(CONFIG, unseen, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.W_dec, again.W_dec)
    assert not torch.equal(first.W_dec, other.W_dec)
    assert torch.equal(first.W_dec, first.W_enc)
    torch.testing.assert_close(first.W_dec.norm(dim=1), torch.ones(64))
    torch.testing.assert_close(first.b_dec, unseen.mean(0))


def test_an_untrained_autoencoder_of_nothing_is_refused():
    with pytest.raises(GlossaeError, match="^sae: an untrained autoencoder needs at least one activation"):
        untrained(CONFIG, torch.zeros(0, D), seed=0)
    with pytest.raises(GlossaeError, match="not finite"):
        untrained(CONFIG, torch.full((3, D), math.nan), seed=0)


# ---- a frozen decoder


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tied"])
def test_a_frozen_decoder_stays_and_the_encoder_learns(kind):
    settings = dataclasses.replace(SETTINGS, frozen_decoder=True, l1=0.01 if kind == "relu" else 0.0)
    first = next(planted())
    start = untrained(KINDS[kind], first, seed=settings.seed)
    sae, log = train(KINDS[kind], planted(), settings)
    assert torch.equal(sae.W_dec, start.W_dec)
    assert (sae.W_enc - start.W_enc).abs().max() > 0.01
    assert log[-1].mse < 0.95 * log[0].mse
    assert not any(parameter.requires_grad for parameter in sae.parameters())


def test_a_frozen_decoder_fits_worse_than_one_that_learns(trained, unseen):
    frozen, _ = train(CONFIG, planted(), dataclasses.replace(SETTINGS, frozen_decoder=True))
    assert fvu(trained[0], unseen) < fvu(frozen, unseen) < fvu(untrained(CONFIG, unseen, seed=0), unseen)


def test_a_frozen_decoder_cannot_be_tied():
    with pytest.raises(GlossaeError, match="^sae: a frozen decoder needs an encoder of its own"):
        train(KINDS["tied"], planted(1), dataclasses.replace(SETTINGS, frozen_decoder=True))


# ---- what is said


def test_the_log_tells_the_training(trained):
    _, log = trained
    assert [point.step for point in log] == sorted({point.step for point in log})
    assert log[-1].step == STEPS
    assert log[-1].tokens == STEPS * BATCH
    assert log[-1].fvu < 0.5 * log[0].fvu
    assert log[-1].mse < 0.5 * log[0].mse
    for point in log:
        assert 0 < point.l0 <= ACTIVE
        assert 0 < point.active_per_batch <= 64
        assert 0 <= point.dead_fraction <= 1
        assert point.lr >= 0
    assert max(point.lr for point in log) > 10 * log[-1].lr


def test_progress_comes_to_its_end():
    done = []
    train(CONFIG, planted(5), TrainSettings(steps=5, tokens=5 * BATCH), done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0


# ---- the same again


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    settings = TrainSettings(steps=20, tokens=20 * BATCH)
    logs = []
    for name in ("a", "b"):
        sae, log = train(CONFIG, planted(20), settings)
        sae.save(tmp_path / name)
        logs.append(log)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert logs[0] == logs[1]


def test_another_seed_gives_another_autoencoder():
    first, second = (
        train(CONFIG, planted(2), dataclasses.replace(SETTINGS, seed=seed))[0] for seed in (0, 1)
    )
    assert not torch.equal(first.W_dec, second.W_dec)


def test_training_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    train(CONFIG, planted(2), SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)


# ---- what cannot be trained on


def test_nothing_to_train_on_is_refused():
    with pytest.raises(GlossaeError, match="^corpora.train: there is no text left"):
        train(CONFIG, iter([]), SETTINGS)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", [0, 2])
def test_activations_that_are_not_finite_are_refused(bad, at):
    batches = list(planted(3))
    batches[at][5, 5] = bad
    with pytest.raises(
        GlossaeError, match=rf"^sae: the model's activations are not finite \(step {at + 1}\)"
    ):
        train(CONFIG, iter(batches), SETTINGS)


def test_a_loss_that_diverges_is_refused():
    with pytest.raises(GlossaeError, match=r"^sae: the loss is no longer finite at step \d+; lower sae.lr"):
        train(CONFIG, planted(50), dataclasses.replace(SETTINGS, lr=1e30))


def test_a_constant_activation_is_no_reason_to_fail():
    sae, log = train(
        CONFIG, (torch.full((BATCH, D), 3.0) for _ in range(5)), TrainSettings(steps=5, tokens=5 * BATCH)
    )
    torch.testing.assert_close(sae(torch.full((2, D), 3.0)), torch.full((2, D), 3.0), atol=0.1, rtol=0)
    assert all(math.isfinite(point.fvu) for point in log)


# ---- the paper's own way


@pytest.fixture(scope="module")
def published():
    config = dataclasses.replace(CONFIG, relu=False)
    return train(config, planted(), dataclasses.replace(SETTINGS, published=True))


def test_the_published_training_lowers_the_loss(published):
    sae, log = published
    assert isinstance(sae, Sae)
    assert log[-1].mse < 0.8 * log[0].mse


def test_the_published_training_has_a_constant_rate_and_free_rows(published):
    sae, log = published
    assert {point.lr for point in log} == {1e-3}
    assert (sae.W_dec.norm(dim=1) - 1).abs().max() > 0.1


def test_published_latents_fire_when_selected(published):
    assert {point.l0 for point in published[1]} == {float(ACTIVE)}
