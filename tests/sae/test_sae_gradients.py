"""Every gradient of the written-out step equals autograd's, for every kind of autoencoder."""

import pytest
import torch

from glossae.sae import Sae, SaeConfig, segments
from glossae.sae.gradients import Penalty, add_auxiliary, dense_pass, make_gradients, sparse_pass
from glossae.sae.selection import above, batch_top_k, top_k

T, D, LATENTS, K = 13, 6, 20, 3
KINDS = {
    "topk": {"k": K},
    "topk without relu": {"k": K, "relu": False},
    "topk, tied": {"k": K, "tied": True},
    "topk, no bias": {"k": K, "pre_encoder_bias": False},
    "topk, nested": {"k": K, "matryoshka": (4, 9, LATENTS)},
    "topk, tied and nested": {"k": K, "tied": True, "matryoshka": (7, LATENTS)},
    "batchtopk": {"k": K, "activation": "batchtopk"},
    "batchtopk, nested": {"k": K, "activation": "batchtopk", "matryoshka": (5, LATENTS)},
    "relu": {"activation": "relu"},
    "relu, tied": {"activation": "relu", "tied": True},
    "jumprelu": {"k": K, "activation": "jumprelu"},
    "jumprelu, nested": {"k": K, "activation": "jumprelu", "matryoshka": (5, LATENTS)},
}
PENALTY = Penalty(l1=0.3, l0=0.7, l0_target=2.0, bandwidth=0.8)


def random_sae(seed=0, **settings):
    sae = Sae(SaeConfig(d_in=D, latents=LATENTS, **settings)).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in sae.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    if sae.threshold is not None:
        sae.threshold.copy_(0.3 + torch.rand(sae.threshold.shape, generator=generator, dtype=torch.float64))
    return sae


def inputs(seed=5):
    return torch.randn(T, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chosen(sae, pre):
    """The entries as the trainer selects them."""
    match sae.config.activation:
        case "topk":
            return top_k(pre, K)
        case "batchtopk":
            return batch_top_k(pre, K * T, 1.0)
        case "relu":
            return above(pre, 0.0)
        case "jumprelu":
            return above(pre, sae.threshold - PENALTY.bandwidth / 2)


def reference_loss(sae, x, penalty):
    """The loss by dense tensors and autograd, and the threshold's pseudo-gradient by its definition."""
    config = sae.config
    read = x - sae.b_dec if config.pre_encoder_bias else x
    pre = read @ sae.W_enc.T + sae.b_enc
    selected = torch.zeros_like(pre, dtype=torch.bool)
    entries = chosen(sae, pre.detach())
    selected[entries.tokens, entries.latents] = True
    match config.activation:
        case "topk":
            z = torch.where(selected, pre if not config.relu else pre.relu(), 0)
        case "jumprelu":
            z = torch.where(pre > sae.threshold, pre, 0)
        case _:
            z = torch.where(selected, pre.relu(), 0)
    z.retain_grad()
    ends = config.matryoshka or (LATENTS,)
    errors = [((z[:, :end] @ sae.W_dec[:end] + sae.b_dec - x) ** 2).mean() for end in ends]
    loss = sum(errors) / len(errors) + penalty.l1 * z.sum() / T
    return loss, z, pre


def close(sae, expected, actual):
    for name, _ in sae.named_parameters():
        torch.testing.assert_close(actual[name], expected[name], msg=lambda m, name=name: f"{name}: {m}")


def gradients(sae):
    return {name: parameter.grad.clone() for name, parameter in sae.named_parameters()}


@pytest.fixture(params=["sparse", "gathered", "dense"])
def passing(request, monkeypatch):
    """The three ways to a step's gradients."""
    if request.param == "gathered":
        monkeypatch.setattr(segments, "_has_sparse_products", lambda _: False)

    def passes(sae, x, penalty, recompute=False):
        if request.param == "dense":
            if sae.config.activation in ("topk", "batchtopk"):
                pytest.skip("these are never dense")
            return dense_pass(sae, x, penalty)
        pre = sae.pre_activations(x).detach()
        entries = chosen(sae, pre)
        if recompute:
            entries = entries._replace(values=torch.full_like(entries.values, 7.0))
        return sparse_pass(sae, x, entries, penalty, recompute=recompute)

    return passes


def penalty_of(sae):
    return PENALTY if sae.config.activation in ("relu", "jumprelu") else Penalty()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_autograds(passing, kind):
    sae, x = random_sae(**KINDS[kind]), inputs()
    penalty = penalty_of(sae)
    loss, z, pre = reference_loss(sae, x, penalty)
    loss.backward()
    expected, dz = gradients(sae), z.grad
    make_gradients(sae)
    for parameter in sae.parameters():
        parameter.grad.fill_(99.0)
    if sae.config.activation == "jumprelu":
        sae.threshold.grad = torch.zeros_like(sae.threshold)
    done = passing(sae, x, penalty)
    close(sae, expected, gradients(sae))
    if not sae.config.tied:
        torch.testing.assert_close(done.along, (sae.W_dec.grad * sae.W_dec).sum(1))
    torch.testing.assert_close(done.gradient / done.factor, (z @ sae.W_dec + sae.b_dec - x).detach())
    fires = (
        (z != 0).sum(0) if sae.config.relu else torch.bincount(chosen(sae, pre).latents, minlength=LATENTS)
    )
    torch.testing.assert_close(done.fires, fires.double())
    if sae.config.activation == "jumprelu":
        # Rajamanoharan et al. 2024, eq. 11-12, with the rectangle kernel; dz is without the L1 term there
        near = ((pre.detach() - sae.threshold).abs() < penalty.bandwidth / 2) / penalty.bandwidth
        l0 = (z != 0).sum() / T
        pull = -sae.threshold * near * (dz - penalty.l1 / T)
        sparsity = -near * 2 * penalty.l0 * (l0 / penalty.l0_target - 1) / (penalty.l0_target * T)
        torch.testing.assert_close(sae.threshold.grad, (pull + sparsity).sum(0).detach())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "tied" not in kind])
def test_a_frozen_decoder_gets_no_gradient_and_changes_no_other(passing, kind):
    x, found = inputs(), []
    for learns in (True, False):
        sae = random_sae(**KINDS[kind])
        sae.W_dec.requires_grad_(learns)
        make_gradients(sae)
        if sae.config.activation == "jumprelu":
            sae.threshold.grad = torch.zeros_like(sae.threshold)
        done = passing(sae, x, penalty_of(sae))
        dead = done.fires == 0
        add_auxiliary(sae, x, done.gradient / -done.factor, dead, K, 0.1, done.along)
        found.append({name: parameter.grad for name, parameter in sae.named_parameters()})
    assert found[1].pop("W_dec") is None
    for name, gradient in found[1].items():
        assert torch.equal(gradient, found[0][name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_values_are_the_exact_ones(passing, kind, request):
    if request.node.callspec.params["passing"] == "dense":
        pytest.skip("nothing is recomputed there")
    sae, x = random_sae(**KINDS[kind]), inputs()
    outcomes = []
    for recompute in (False, True):
        make_gradients(sae)
        if sae.config.activation == "jumprelu":
            sae.threshold.grad = torch.zeros_like(sae.threshold)
        passing(sae, x, penalty_of(sae), recompute=recompute)
        outcomes.append(gradients(sae))
    close(sae, *outcomes)


@pytest.mark.parametrize("kind", ["topk", "topk, tied", "topk, no bias"])
def test_the_auxiliary_loss_reaches_encoder_and_decoder_exactly(kind):
    sae, x = random_sae(**KINDS[kind]), inputs()
    dead = torch.zeros(LATENTS, dtype=torch.bool)
    dead[[2, 5, 11, 12, 19]] = True
    error = inputs(seed=9)
    read = x - sae.b_dec if sae.config.pre_encoder_bias else x
    pre = (read @ sae.W_enc.T + sae.b_enc)[:, dead]
    values, indices = pre.topk(2, dim=1)
    code = torch.zeros_like(pre).scatter(1, indices, values.relu())
    loss = 0.5 * ((code @ sae.W_dec[dead] - error) ** 2).sum() / (error**2).sum()
    loss.backward()
    expected = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in sae.named_parameters()
    }
    assert expected["W_enc"][dead].abs().sum() > 0
    make_gradients(sae)
    along = torch.zeros(LATENTS, dtype=torch.float64)
    add_auxiliary(sae, x, error, dead, 2, 0.5, along)
    close(sae, expected, gradients(sae))
    if not sae.config.tied:
        torch.testing.assert_close(along, (sae.W_dec.grad * sae.W_dec).sum(1))


def test_gradients_keep_their_memory():
    sae = random_sae(k=K)
    make_gradients(sae)
    before = [parameter.grad.data_ptr() for parameter in sae.parameters()]
    sparse_pass(
        sae, inputs(), chosen(sae, sae.pre_activations(inputs()).detach()), Penalty(), recompute=False
    )
    assert [parameter.grad.data_ptr() for parameter in sae.parameters()] == before
