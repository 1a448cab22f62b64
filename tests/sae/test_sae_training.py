"""Training finds the features that were planted, the same ones every time, and says when it cannot."""

import dataclasses
import math

import pytest
import torch

from glossae.errors import GlossaeError
from glossae.sae import Mixer, SaeConfig, TrainSettings, train, train_group, untrained

D, FEATURES, ACTIVE = 32, 48, 3
BATCH, STEPS = 256, 200
CONFIG = SaeConfig(d_in=D, latents=64, k=ACTIVE)
SETTINGS = TrainSettings(steps=STEPS, tokens=STEPS * BATCH)
KINDS = {
    "topk": CONFIG,
    "topk, no bias": dataclasses.replace(CONFIG, pre_encoder_bias=False),
    "tied": dataclasses.replace(CONFIG, tied=True),
    "batchtopk, nested": dataclasses.replace(CONFIG, activation="batchtopk", matryoshka=(16, 64)),
    "jumprelu": dataclasses.replace(CONFIG, activation="jumprelu"),
    "relu": SaeConfig(d_in=D, latents=64, activation="relu"),
}


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


def changed(**changes):
    return dataclasses.replace(SETTINGS, **changes)


def fvu(sae, x):
    return float((sae(x) - x).square().sum() / (x - x.mean(0)).square().sum())


@pytest.fixture(scope="module")
def trained():
    """(SAE, log) of the planted features."""
    return train(CONFIG, planted(), SETTINGS)


@pytest.fixture(scope="module")
def unseen():
    return torch.cat(list(planted(8, seed=2)))


# ---- what is learnt


def test_planted_features_are_recovered(trained, unseen):
    sae, _ = trained
    best = (unit_rows(FEATURES) @ sae.W_dec.T).max(dim=1).values
    assert (best > 0.9).float().mean() > 0.8
    assert fvu(sae, unseen) < 0.2
    rows = sae.W_enc / sae.W_enc.norm(dim=1, keepdim=True)
    assert not torch.allclose(rows, sae.W_dec, atol=0.01)
    # the result is for reading
    assert not any(parameter.requires_grad for parameter in sae.parameters())


def test_a_latents_value_is_the_length_of_what_it_writes(trained, unseen):
    sae, _ = trained
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(64))
    codes = sae.encode(unseen[:1])
    alone = codes._replace(values=codes.values * torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close((sae.decode(alone) - sae.b_dec).norm(), codes.values[0, 0])


@pytest.mark.parametrize("scale", [100.0, 0.01])
def test_the_inputs_scale_is_folded_in(unseen, scale):
    # in bfloat16 a last digit of the inputs may decide which of two equal latents is selected
    exact = changed(encoder_dtype="float32")
    (sae, log), (scaled, scaled_log) = (train(CONFIG, planted(scale=by), exact) for by in (1.0, scale))
    assert fvu(scaled, scale * unseen) == pytest.approx(fvu(sae, unseen), abs=1e-3)
    difference = scaled(scale * unseen) / scale - sae(unseen)
    assert difference.square().mean() < 1e-3 * (unseen - unseen.mean(0)).square().mean()
    # the log is in the site's own units
    assert scaled_log[-1].mse == pytest.approx(scale**2 * log[-1].mse, rel=0.05)
    assert scaled_log[-1].fvu == pytest.approx(log[-1].fvu, abs=1e-3)


def test_a_large_mean_does_no_harm(unseen):
    sae, _ = train(CONFIG, planted(mean=30.0), SETTINGS)
    assert fvu(sae, unseen + 29.5) < 0.25


def test_dead_latents_are_revived():
    # large steps kill latents; features that differ in frequency, and more of them in a token than are selected,
    # leave an error to learn from
    features = unit_rows(64)[:, :16]
    frequency = 1 / torch.arange(1, 65).float()
    generator = torch.Generator().manual_seed(0)
    chosen = torch.multinomial(frequency.expand(150 * 200, 64), 4, generator=generator)
    strength = 1 + torch.rand(150 * 200, 4, generator=generator)
    batches = (torch.zeros(150 * 200, 64).scatter_(1, chosen, strength) @ features).split(200)

    def dead(aux_k):
        # of one seed, which latents die is chance
        config = SaeConfig(d_in=16, latents=128, k=2)
        settings = TrainSettings(steps=150, tokens=150 * 200, lr=0.03, aux_k=aux_k)
        jobs = [(config, dataclasses.replace(settings, seed=seed)) for seed in range(2)]
        trained = train_group(jobs, lambda start: iter(batches[start:]), Mixer(None, 0, generator))
        return sum(log[-1].dead_fraction for _, log in trained) / len(trained)

    before, after = dead(0), dead(None)
    assert before > 0.1
    assert after < 0.7 * before


# ---- the untrained control


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("centre", ["mean", "geometric_median", "zero"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_sae_is_the_one_that_training_starts_from(kind, centre, published):
    (batch,) = planted(1, scale=3.0)
    # a step that moves no weight; batchtopk's threshold follows the first batch, and starts there
    start = {"centre": centre, "seed": 7, "published": published}
    how = {"lr": 0.0, "aux_k": 0, "unit_rows": False, "encoder_dtype": "float32"}
    settings = TrainSettings(steps=1, tokens=BATCH, **how, **start)
    started, _ = train(KINDS[kind], iter([batch]), settings)
    other = untrained(KINDS[kind], batch, **start)
    assert set(other.state_dict()) == set(started.state_dict())
    for name, tensor in started.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=1e-6, atol=1e-9, msg=name)
    assert not any(parameter.requires_grad for parameter in other.parameters())
    assert all(parameter.grad is None for parameter in other.parameters())


@pytest.mark.parametrize("kind", ["batchtopk, nested", "jumprelu"])
def test_an_untrained_sae_fires_as_often_as_was_asked_for(kind, unseen):
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


def test_an_untrained_sae_of_nothing_is_refused():
    with pytest.raises(GlossaeError, match="^sae: an untrained autoencoder needs at least one activation"):
        untrained(CONFIG, torch.zeros(0, D), seed=0)
    with pytest.raises(GlossaeError, match="not finite"):
        untrained(CONFIG, torch.full((3, D), math.nan), seed=0)


# ---- a frozen decoder


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tied"])
def test_a_frozen_decoder_stays_and_the_encoder_learns(kind, trained, unseen):
    steps = STEPS if kind == "topk" else 100
    start = untrained(KINDS[kind], next(planted()), seed=SETTINGS.seed)
    settings = changed(steps=steps, tokens=steps * BATCH, frozen_decoder=True)
    settings = dataclasses.replace(settings, l1=0.01 if kind == "relu" else 0.0)
    frozen, log = train(KINDS[kind], planted(steps), settings)
    assert torch.equal(frozen.W_dec, start.W_dec)
    assert (frozen.W_enc - start.W_enc).abs().max() > 0.01
    assert log[-1].mse < 0.95 * log[0].mse
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    if kind == "topk":
        assert fvu(trained[0], unseen) < fvu(frozen, unseen) < fvu(start, unseen)


def test_a_frozen_decoder_cannot_be_tied():
    with pytest.raises(GlossaeError, match="^sae: a frozen decoder needs an encoder of its own"):
        train(KINDS["tied"], planted(1), changed(frozen_decoder=True))


# ---- what is said


def test_the_log_tells_the_training(trained):
    _, log = trained
    assert [point.step for point in log] == sorted({point.step for point in log})
    assert (log[-1].step, log[-1].tokens) == (STEPS, STEPS * BATCH)
    assert log[-1].fvu < 0.5 * log[0].fvu
    assert log[-1].mse < 0.5 * log[0].mse
    for point in log:
        assert 0 < point.l0 <= ACTIVE
        assert 0 < point.active_per_batch <= 64
        assert 0 <= point.dead_fraction <= 1
        assert point.lr >= 0
    assert max(point.lr for point in log) > 10 * log[-1].lr


def test_a_seed_decides_every_byte_and_the_global_random_state_stays(tmp_path):
    before, logs, done = torch.get_rng_state(), [], []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        settings = TrainSettings(steps=20, tokens=20 * BATCH, seed=seed)
        sae, log = train(CONFIG, planted(20), settings, done.append)
        sae.save(tmp_path / name)
        logs.append(log)
    first, same, other = ((tmp_path / name / "sae.safetensors").read_bytes() for name in "abc")
    assert first == same != other
    assert logs[0] == logs[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert done[:20] == sorted(done[:20])
    assert done[19] == 1.0


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
        train(CONFIG, planted(50), changed(lr=1e30))


def test_a_constant_activation_is_no_reason_to_fail():
    constant = torch.full((BATCH, D), 3.0)
    sae, log = train(CONFIG, (constant for _ in range(5)), TrainSettings(steps=5, tokens=5 * BATCH))
    torch.testing.assert_close(sae(constant[:2]), constant[:2], atol=0.1, rtol=0)
    assert all(math.isfinite(point.fvu) for point in log)


def test_the_papers_training_has_a_constant_rate_free_rows_and_no_relu():
    sae, log = train(dataclasses.replace(CONFIG, relu=False), planted(), changed(published=True))
    assert log[-1].mse < 0.8 * log[0].mse
    assert {point.lr for point in log} == {1e-3}
    assert (sae.W_dec.norm(dim=1) - 1).abs().max() > 0.1
    assert {point.l0 for point in log} == {float(ACTIVE)}
