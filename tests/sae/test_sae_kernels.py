"""Selection finds what a sort would find; every gradient equals autograd's through dense tensors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from glossae.sae import Sae, SaeConfig, sparse
from glossae.sae.gradients import Pass, Penalty, add_auxiliary, dense_pass, make_gradients, sparse_pass
from glossae.sae.sparse import SparseDecode, TopKEncode, above, batch_top_k, top_k

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


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_sae(**settings):
    sae = Sae(SaeConfig(d_in=D, latents=LATENTS, **settings)).double()
    for seed, parameter in enumerate(sae.parameters()):
        parameter.data = normal(*parameter.shape, seed=seed)
    if sae.threshold is not None:
        sae.threshold.copy_(0.3 + normal(*sae.threshold.shape, seed=9).abs())
    return sae


X = normal(T, D, seed=5)


# ---- selection

# few distinct values, so that many are equal
MATRICES = arrays.arrays(
    "float32",
    st.tuples(st.integers(1, 8), st.integers(1, 12)),
    elements=st.sampled_from([-2.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0]),
).map(torch.from_numpy)


def check(found, pre):
    """Token by token, none twice, each with its own pre-activation."""
    assert found.tokens.tolist() == sorted(found.tokens.tolist())
    places = list(zip(found.tokens.tolist(), found.latents.tolist(), strict=True))
    assert len(set(places)) == len(places)
    assert torch.equal(pre[found.tokens, found.latents], found.values)


@given(MATRICES, st.data())
def test_top_k_takes_the_largest_of_every_token(pre, data):
    k = data.draw(st.integers(1, pre.shape[1]))
    found = top_k(pre, k)
    check(found, pre)
    assert torch.equal(found.values.reshape(-1, k).sort(1).values, pre.sort(1).values[:, -k:])


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 40, 64]), st.integers(1, 5), st.sampled_from([2, 1000]))
def test_the_search_in_two_steps_finds_the_same(seed, latents, k, distinct):
    generator = torch.Generator().manual_seed(seed)
    pre = torch.randint(-distinct, distinct, (6, latents), generator=generator).float()
    found = top_k(pre, k)
    check(found, pre)
    assert torch.equal(found.values.reshape(6, k).sort(1).values, pre.sort(1).values[:, -k:])


@given(MATRICES, st.data(), st.sampled_from([0.0, 0.1, 0.5, 2.0, 100.0]))
def test_batch_top_k_takes_the_largest_of_all_whatever_the_guess(pre, data, guess):
    count = data.draw(st.integers(1, pre.numel()))
    found = batch_top_k(pre, count, guess)
    check(found, pre)
    positive = sorted(value for value in pre.flatten().tolist() if value > 0)
    assert sorted(found.values.tolist()) == positive[-count:]


@given(MATRICES)
def test_above_takes_what_lies_above_each_latents_edge(pre):
    edge = torch.linspace(-1, 1, pre.shape[1])
    found = above(pre, edge)
    check(found, pre)
    assert len(found.values) == int((pre > edge).sum())


# ---- autograd through the codes


@pytest.fixture(params=["sparse", "gathered", "gathered in slabs", "encoded in slabs", "encoded in blocks"])
def branch(request, monkeypatch):
    """With a sparse product and without one, cut into slabs of two tokens, and into blocks of some latents."""
    if request.param.startswith("gathered"):
        monkeypatch.setattr(sparse, "_has_sparse_products", lambda _: False)
    if request.param == "gathered in slabs":
        monkeypatch.setattr(sparse, "GATHERED_VALUES", 2 * K * D)
    if request.param.startswith("encoded"):
        monkeypatch.setattr(sparse, "PRE_ACTIVATIONS", 2 * LATENTS)
    if request.param == "encoded in slabs":
        monkeypatch.setattr(sparse, "ENOUGH_TOKENS", 2)


DISTINCT = torch.stack(
    [torch.randperm(LATENTS, generator=torch.Generator().manual_seed(i))[:K] for i in range(7)]
)
REPEATED = torch.tensor([[3, 3, 3], [0, 0, 5], [5, 0, 5], [11, 2, 11], [3, 2, 1], [7, 7, 0], [9, 9, 9]])


@pytest.mark.parametrize("indices", [DISTINCT, REPEATED], ids=["distinct", "repeated"])
def test_decoding_is_a_sum_of_rows_with_exact_gradients(branch, indices):
    values, weight = normal(7, K).requires_grad_(), normal(LATENTS, D, seed=1).requires_grad_()
    torch.testing.assert_close(
        SparseDecode.apply(values, indices, weight), (values[..., None] * weight[indices]).sum(1)
    )
    assert torch.autograd.gradcheck(lambda v, w: SparseDecode.apply(v, indices, w), (values, weight))


@pytest.mark.parametrize("alike", [False, True])
def test_encoding_chooses_the_largest_and_has_exact_gradients(branch, alike):
    x, weight, bias = normal(7, D), normal(LATENTS, D, seed=1), normal(LATENTS, seed=2)
    if alike:
        bias[[2, 4, 9]] = 1000
    arguments = tuple(tensor.requires_grad_() for tensor in (x, weight, bias))
    values, indices = TopKEncode.apply(*arguments, K)
    assert not indices.requires_grad
    dense = x @ weight.T + bias
    torch.testing.assert_close(values, dense.gather(1, indices))
    torch.testing.assert_close(values.sort(1).values, dense.sort(1).values[:, -K:])
    assert torch.autograd.gradcheck(lambda *a: TopKEncode.apply(*a, K)[0], arguments)


@pytest.mark.parametrize("relu", [True, False])
def test_the_sae_equals_its_dense_twin(branch, relu):
    sae, target = random_sae(k=K, relu=relu), normal(T, D, seed=10)
    found = []
    for twin in (False, True):
        sae.zero_grad()
        x = X.clone().requires_grad_()
        x_hat = sae(x)
        if twin:
            pre = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
            code = pre * (pre >= pre.topk(K, dim=1).values[:, -1:])
            x_hat = (code.relu() if relu else code) @ sae.W_dec + sae.b_dec
        (x_hat - target).square().sum().backward()
        found.append([x_hat.detach(), x.grad, *(p.grad.clone() for p in sae.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_pre_activations_are_all_or_some_of_them():
    sae, some = random_sae(k=K), torch.tensor([4, 0])
    expected = (X - sae.b_dec) @ sae.W_enc.T + sae.b_enc
    torch.testing.assert_close(sae.pre_activations(X), expected)
    torch.testing.assert_close(sae.pre_activations(X, some), expected[:, some])


@pytest.mark.parametrize("relu", [True, False])
def test_without_relu_a_latent_fires_when_it_is_selected_even_below_zero(relu):
    sae, x = Sae(SaeConfig(d_in=D, latents=LATENTS, k=K, relu=relu)), X.float()
    # every pre-activation is -1
    sae.b_enc.data.fill_(-1)
    sae.W_dec.data.fill_(1)
    codes = sae.encode(x)
    assert codes.values.shape == (T, K)
    assert (codes.values == (0 if relu else -1)).all()
    assert (sae.fires(codes) == (not relu)).all()
    torch.testing.assert_close(sae(x), torch.full_like(x, 0 if relu else -K))


# ---- the written-out step


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


def reference_loss(sae, penalty):
    """The loss by dense tensors and autograd, with the code and the pre-activations."""
    config = sae.config
    pre = sae.pre_activations(X)
    entries = chosen(sae, pre.detach())
    selected = torch.zeros_like(pre, dtype=torch.bool)
    selected[entries.tokens, entries.latents] = True
    if config.activation == "jumprelu":
        selected = pre > sae.threshold
    z = torch.where(selected, pre.relu() if config.relu else pre, 0)
    z.retain_grad()
    ends = config.matryoshka or (LATENTS,)
    errors = [((z[:, :end] @ sae.W_dec[:end] + sae.b_dec - X) ** 2).mean() for end in ends]
    return sum(errors) / len(errors) + penalty.l1 * z.sum() / T, z, pre.detach()


def gradients(sae, done=None, block=LATENTS):
    """Of every parameter; the weights' from the rows of a pass, in blocks."""
    found = {name: p.grad.clone() for name, p in sae.named_parameters() if p.grad is not None}
    if done is not None:
        names = [name for name in ("W_enc", "W_dec") if dict(sae.named_parameters()).get(name) is not None]
        rows = {name: torch.full_like(sae.W_enc, 99.0) for name in names if getattr(sae, name).requires_grad}
        for first in range(0, LATENTS, block):
            some = slice(first, min(first + block, LATENTS))
            parts = {name: each[some] for name, each in rows.items()}
            done.rows(some.start, some.stop, parts["W_enc"], parts.get("W_dec"))
        found |= rows
    return found


WAYS = [
    (kind, way)
    for kind, settings in KINDS.items()
    for way in ("sparse", "gathered", "recomputed", "dense")
    if way != "dense" or settings.get("activation") in ("relu", "jumprelu")
]


@pytest.fixture
def passing(monkeypatch):
    """A function that takes a step's gradients one of the four ways."""

    def passes(sae, way):
        monkeypatch.setattr(sparse, "_has_sparse_products", lambda _: way != "gathered")
        make_gradients(sae)
        for parameter in sae.parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(99.0)
        penalty = PENALTY if sae.config.activation in ("relu", "jumprelu") else Penalty()
        if way == "dense":
            return dense_pass(sae, X, penalty)
        entries = chosen(sae, sae.pre_activations(X).detach())
        if way == "recomputed":
            entries = entries._replace(values=torch.full_like(entries.values, 7.0))
        return sparse_pass(sae, X, entries, penalty, recompute=way == "recomputed")

    return passes


@pytest.mark.parametrize("block", [1, 7, LATENTS])
@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_gradients_equal_autograds(passing, kind, way, block):
    sae = random_sae(**KINDS[kind])
    penalty = PENALTY if sae.config.activation in ("relu", "jumprelu") else Penalty()
    loss, z, pre = reference_loss(sae, penalty)
    loss.backward()
    expected = gradients(sae)
    done = passing(sae, way)
    found = gradients(sae, done, block)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], msg=lambda m, name=name: f"{name}: {m}")
    if not sae.config.tied:
        torch.testing.assert_close(done.along, (found["W_dec"] * sae.W_dec).sum(1))
    torch.testing.assert_close(done.gradient / done.factor, (z @ sae.W_dec + sae.b_dec - X).detach())
    fired = (
        (z != 0).sum(0) if sae.config.relu else torch.bincount(chosen(sae, pre).latents, minlength=LATENTS)
    )
    torch.testing.assert_close(done.fires, fired.double())
    if sae.config.activation == "jumprelu":
        # Rajamanoharan et al. 2024, eq. 11-12, with the rectangle kernel; dz is without the L1 term there
        near = ((pre - sae.threshold).abs() < penalty.bandwidth / 2) / penalty.bandwidth
        l0 = (z != 0).sum() / T
        pull = -sae.threshold * near * (z.grad - penalty.l1 / T)
        sparsity = -near * 2 * penalty.l0 * (l0 / penalty.l0_target - 1) / (penalty.l0_target * T)
        torch.testing.assert_close(sae.threshold.grad, (pull + sparsity).sum(0).detach())


@pytest.mark.parametrize(("kind", "way"), [(kind, way) for kind, way in WAYS if "tied" not in kind])
def test_a_frozen_decoder_gets_no_gradient_and_changes_no_other(passing, kind, way):
    found = []
    for learns in (True, False):
        sae = random_sae(**KINDS[kind])
        sae.W_dec.requires_grad_(learns)
        done = passing(sae, way)
        done = add_auxiliary(sae, X, done.gradient / -done.factor, done.fires == 0, K, 0.1, done)
        found.append(gradients(sae, done, block=7))
    assert found[0].keys() - found[1].keys() == {"W_dec"}
    for name, gradient in found[1].items():
        assert torch.equal(gradient, found[0][name]), name


def nothing(first, last, encoder, decoder):
    for rows in (encoder, decoder):
        if rows is not None:
            rows.zero_()


@pytest.mark.parametrize("kind", ["topk", "topk, tied", "topk, no bias"])
def test_the_auxiliary_loss_reaches_encoder_and_decoder_exactly(kind):
    sae, error = random_sae(**KINDS[kind]), normal(T, D, seed=9)
    dead = torch.zeros(LATENTS, dtype=torch.bool)
    dead[[2, 5, 11, 12, 19]] = True
    pre = sae.pre_activations(X)[:, dead]
    values, indices = pre.topk(2, dim=1)
    code = torch.zeros_like(pre).scatter(1, indices, values.relu())
    (0.5 * ((code @ sae.W_dec[dead] - error) ** 2).sum() / (error**2).sum()).backward()
    expected = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in sae.named_parameters()
    }
    assert expected["W_enc"][dead].abs().sum() > 0
    make_gradients(sae)
    along = torch.zeros(LATENTS, dtype=torch.float64)

    before = Pass(X, 1.0, along, along.sum(), along, nothing)
    found = gradients(sae, add_auxiliary(sae, X, error, dead, 2, 0.5, before), block=7)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    if not sae.config.tied:
        torch.testing.assert_close(along, (found["W_dec"] * sae.W_dec).sum(1))


@pytest.mark.parametrize("kind", ["topk", "topk, tied", "topk, no bias"])
def test_the_auxiliary_loss_in_bfloat16_has_about_the_same_gradients(kind):
    sae, x, error = random_sae(**KINDS[kind]).float(), X.float(), normal(T, D, seed=9).float()
    dead, found = torch.arange(LATENTS) % 4 == 2, {}
    for dtype in (torch.float32, torch.bfloat16):
        make_gradients(sae)
        along = torch.zeros(LATENTS)
        before = Pass(x, 1.0, along, along.sum(), along, nothing)
        done = add_auxiliary(sae, x, error, dead, LATENTS, 0.5, before, dtype)
        found[dtype] = gradients(sae, done, block=7) | {"along": along}
    for name, expected in found[torch.float32].items():
        assert found[torch.bfloat16][name].dtype == torch.float32
        assert (found[torch.bfloat16][name] - expected).norm() <= 0.02 * expected.norm(), name
