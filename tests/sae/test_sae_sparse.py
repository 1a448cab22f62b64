"""The sparse products have exact gradients, whichever way they are computed."""

import pytest
import torch

from glossae.sae import Sae, SaeConfig, segments, sparse
from glossae.sae.sparse import SparseDecode, TopKEncode, combine_rows, dot_rows, sum_by_latent

# k of the latents of width d, for T tokens
T, LATENTS, D, K = 7, 12, 5, 3


@pytest.fixture(params=["sparse", "gathered", "gathered in slabs", "encoded in slabs"])
def branch(request, monkeypatch):
    """With a sparse product and without one, and cut into slabs of two tokens."""
    if request.param.startswith("gathered"):
        monkeypatch.setattr(segments, "_has_sparse_products", lambda _: False)
    if request.param == "gathered in slabs":
        monkeypatch.setattr(segments, "GATHERED_VALUES", 2 * K * D)
    if request.param == "encoded in slabs":
        monkeypatch.setattr(sparse, "PRE_ACTIVATIONS", 2 * LATENTS)


def normal(*shape, seed=0, requires_grad=True):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(requires_grad)


DISTINCT = torch.stack(
    [torch.randperm(LATENTS, generator=torch.Generator().manual_seed(i))[:K] for i in range(T)]
)
REPEATED = torch.tensor([[3, 3, 3], [0, 0, 5], [5, 0, 5], [11, 2, 11], [3, 2, 1], [7, 7, 0], [9, 9, 9]])
INDICES = pytest.mark.parametrize("indices", [DISTINCT, REPEATED], ids=["distinct", "repeated"])


def test_encoding_has_exact_gradients(branch):
    x, weight, bias = normal(T, D), normal(LATENTS, D, seed=1), normal(LATENTS, seed=2)
    assert torch.autograd.gradcheck(lambda *a: TopKEncode.apply(*a, K)[0], (x, weight, bias))


def test_encoding_has_exact_gradients_where_all_tokens_choose_alike(branch):
    x, weight = normal(T, D), normal(LATENTS, D, seed=1)
    bias = torch.zeros(LATENTS, dtype=torch.float64)
    bias[[2, 4, 9]] = 1000
    assert torch.autograd.gradcheck(lambda *a: TopKEncode.apply(*a, K)[0], (x, weight, bias.requires_grad_()))


@INDICES
def test_decoding_has_exact_gradients(branch, indices):
    values, weight = normal(T, K), normal(LATENTS, D, seed=1)
    assert torch.autograd.gradcheck(lambda v, w: SparseDecode.apply(v, indices, w), (values, weight))


def test_indices_have_no_gradient():
    _, indices = TopKEncode.apply(normal(T, D), normal(LATENTS, D, seed=1), normal(LATENTS, seed=2), K)
    assert not indices.requires_grad


@INDICES
def test_products_equal_loops(branch, indices):
    x, values = normal(T, D, requires_grad=False), normal(T, K, seed=3, requires_grad=False)
    weight = normal(LATENTS, D, seed=1, requires_grad=False)
    combined, summed = torch.zeros(T, D).double(), torch.zeros(LATENTS, D).double()
    dots = torch.zeros(T, K).double()
    for t in range(T):
        for j in range(K):
            latent = indices[t, j]
            combined[t] += values[t, j] * weight[latent]
            summed[latent] += values[t, j] * x[t]
            dots[t, j] = x[t] @ weight[latent]
    torch.testing.assert_close(combine_rows(indices, values, weight), combined)
    torch.testing.assert_close(sum_by_latent(indices, values, x, LATENTS), summed)
    torch.testing.assert_close(dot_rows(indices, x, weight), dots)


def test_encoding_chooses_the_largest():
    x, weight, bias = normal(T, D), normal(LATENTS, D, seed=1), normal(LATENTS, seed=2)
    values, indices = TopKEncode.apply(x, weight, bias, K)
    dense = x @ weight.T + bias
    torch.testing.assert_close(values, dense.gather(1, indices))
    torch.testing.assert_close(values.sort(descending=True).values, dense.sort(descending=True).values[:, :K])
    assert all(len(set(row)) == K for row in indices.tolist())


@pytest.mark.parametrize("relu", [True, False])
def test_the_autoencoder_equals_its_dense_twin(branch, relu):
    sae = Sae(SaeConfig(d_in=D, latents=LATENTS, k=K, relu=relu)).double()
    for seed, parameter in enumerate(sae.parameters()):
        parameter.data = normal(*parameter.shape, seed=seed, requires_grad=False)
    x, target = normal(T, D, seed=9), normal(T, D, seed=10, requires_grad=False)
    (sae(x) - target).square().sum().backward()
    ours = {name: parameter.grad.clone() for name, parameter in sae.named_parameters()} | {
        "x": x.grad.clone()
    }

    sae.zero_grad()
    x.grad = None
    dense = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
    code = dense * (dense >= dense.topk(K, dim=1).values[:, -1:])
    code = code.relu() if relu else code
    x_hat = code @ sae.W_dec + sae.b_dec
    torch.testing.assert_close(sae(x), x_hat)
    (x_hat - target).square().sum().backward()
    for name, gradient in ({"x": x.grad} | {n: p.grad for n, p in sae.named_parameters()}).items():
        torch.testing.assert_close(ours[name], gradient, msg=name)


def test_pre_activations_are_all_or_some_of_them():
    sae = Sae(SaeConfig(d_in=D, latents=LATENTS, k=K)).double()
    for seed, parameter in enumerate(sae.parameters()):
        parameter.data = normal(*parameter.shape, seed=seed, requires_grad=False)
    x, some = normal(T, D, requires_grad=False), torch.tensor([4, 0])
    expected = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
    torch.testing.assert_close(sae.pre_activations(x), expected)
    torch.testing.assert_close(sae.pre_activations(x, some), expected[:, some])


def test_without_relu_a_latent_fires_when_it_is_selected_even_below_zero():
    x = normal(T, D, requires_grad=False).float()
    fires = {}
    for relu in (True, False):
        sae = Sae(SaeConfig(d_in=D, latents=LATENTS, k=K, relu=relu))
        # every pre-activation is -1
        sae.b_enc.data.fill_(-1)
        sae.W_dec.data.fill_(1)
        codes = sae.encode(x)
        fires[relu] = sae.fires(codes)
        assert (codes.values == (0 if relu else -1)).all()
        torch.testing.assert_close(sae(x), torch.full_like(x, 0 if relu else -K))
    assert not fires[True].any()
    assert fires[False].all()
