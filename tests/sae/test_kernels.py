"""Triton's kernels do what plain torch does: under Triton's interpreter, or with TRITON_INTERPRET=0 on a GPU.

Run as a script, this file compiles every kernel, which needs no GPU.
"""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from glossae import ranks
from glossae.sae import SaeConfig, TrainSettings, sparse, train
from glossae.sae.adam import Adam
from glossae.sae.sparse import ByLatent, Entries, sums_by_token, top_k_of_product

triton = pytest.importorskip("triton", reason="Triton is not installed here")
from glossae.sae import kernels  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.fixture(autouse=True)
def products(monkeypatch):
    """The interpreter multiplies the bits of bfloat16 as integers: numpy has no such type."""
    if not INTERPRETED:
        if not torch.cuda.is_available():
            pytest.skip("there is no GPU, and TRITON_INTERPRET is off")
        return
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    plain = InterpreterBuilder.create_dot

    def widened(handle):
        if handle.dtype.scalar != triton.language.bfloat16:
            return handle
        return TensorHandle((handle.data.astype("uint32") << 16).view("float32"), triton.language.float32)

    monkeypatch.setattr(
        InterpreterBuilder,
        "create_dot",
        lambda self, left, right, *rest: plain(self, widened(left), widened(right), *rest),
    )


@pytest.fixture
def either(monkeypatch):
    """Calls a function with the kernels, and with plain torch."""

    def both(function):
        found = []
        for device in (DEVICE, None):
            monkeypatch.setattr(sparse, "_has_kernels", lambda own, device=device: own == device)
            found.append(function())
        return found

    return both


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(sparse, "_has_kernels", lambda own: own == DEVICE)


# ---- selection


@pytest.mark.parametrize(
    ("tokens", "d_in", "latents", "k", "alike", "parts"),
    [
        (5, 7, 33, 3, False, 8),
        (130, 70, 700, 9, False, 2),
        (3, 64, 600, 1, True, 1),
        (3, 64, 600, 5, True, 8),
        (2, 9, 80, 80, False, 8),
        (2, 24, 140, 130, False, 1),
    ],
)
def test_selects_the_largest_of_the_product(fast, monkeypatch, tokens, d_in, latents, k, alike, parts):
    monkeypatch.setattr(kernels, "PARTS", parts)
    monkeypatch.setattr(kernels, "PROGRAMS", parts)
    x, weight, bias = normal(tokens, d_in), normal(latents, d_in, seed=1), normal(latents, seed=2) - 50
    if alike:
        weight[latents // 3 :] = weight[latents // 3]
        bias[latents // 3 :] = 0
    x, weight = x.bfloat16(), weight.bfloat16()
    found = top_k_of_product(x, weight, bias, k)
    pre = x.float() @ weight.float().T + bias
    assert torch.equal(found.tokens, torch.arange(tokens, device=DEVICE).repeat_interleave(k))
    each = found.latents.reshape(tokens, k).tolist()
    assert all(len(set(latent)) == k for latent in each)
    torch.testing.assert_close(found.values, pre[found.tokens, found.latents], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        found.values.reshape(tokens, k).sort(1).values,
        pre.topk(k, dim=1).values.sort(1).values,
        rtol=1e-5,
        atol=1e-4,
    )
    again = top_k_of_product(x, weight, bias, k)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


def test_ranks_select_of_their_shares_what_one_selects_of_the_whole(fast, monkeypatch):
    tokens, latents, k, shares = 20, 70, 6, [slice(0, 40), slice(40, 70)]
    x, weight, bias = normal(tokens, 24).bfloat16(), normal(latents, 24, seed=1).bfloat16(), normal(latents)
    whole = top_k_of_product(x, weight, bias, k)
    own = [top_k_of_product(x, weight[rows], bias[rows], k) for rows in shares]
    monkeypatch.setattr(ranks, "count", lambda: len(shares))
    monkeypatch.setattr(ranks, "gather", lambda _: [each.values.view(tokens, k) for each in own])
    chosen = set()
    for number, rows in enumerate(shares):
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        kept = sparse.of_all_ranks(own[number], tokens, k)
        chosen |= set(zip(kept.tokens.tolist(), (kept.latents + rows.start).tolist(), strict=True))
    assert chosen == set(zip(whole.tokens.tolist(), whole.latents.tolist(), strict=True))


def test_more_latents_than_a_kernel_selects_are_left_to_torch(fast):
    x, weight = normal(2, 4).bfloat16(), normal(300, 4).bfloat16()
    assert top_k_of_product(x, weight, normal(300), 257) is None


# ---- products with the pattern

TOKENS, LATENTS, D = 60, 11, 19


def entries():
    """Latent 4 fires at every token, latents 0, 7 and 10 at none."""
    drawn = torch.Generator().manual_seed(3)
    rare = torch.tensor([1, 2, 3, 5, 6, 8, 9])[torch.randint(7, (TOKENS,), generator=drawn)]
    latents = torch.stack([torch.full((TOKENS,), 4), rare], 1).flatten().to(DEVICE)
    tokens = torch.arange(TOKENS, device=DEVICE).repeat_interleave(2)
    # the last tokens have none
    kept = tokens < TOKENS - 5
    return Entries(tokens[kept], latents[kept], normal(int(kept.sum()), seed=4))


def test_products_by_latent_and_by_token_equal_torchs(either, monkeypatch):
    monkeypatch.setattr(kernels, "CHUNK", 16)
    own, x, weight = entries(), normal(TOKENS, D), normal(LATENTS, D, seed=1)

    def found():
        pattern = ByLatent(own.latents, own.tokens, LATENTS, TOKENS)
        values = own.values[pattern.order]
        sums, added = torch.full_like(weight, 99.0), weight.clone()
        pattern.sums(values, x, sums)
        pattern.sums(values, x, added, add=True)
        part, some = pattern.part(3, 9)
        inside = torch.full_like(weight[3:9], 99.0)
        part.sums(values[some], x, inside)
        offsets = torch.searchsorted(own.tokens, torch.arange(TOKENS + 1, device=DEVICE))
        return (
            sums,
            added,
            inside,
            pattern.dots(weight, x),
            part.dots(weight[3:9], x),
            pattern.per_latent(values),
            sums_by_token(own, offsets, weight),
        )

    ours, theirs = either(found)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5)
    assert all(torch.equal(one, other) for one, other in zip(ours, either(found)[0], strict=True))


def test_no_entries_have_no_sums(fast):
    none = torch.zeros(0, dtype=torch.int64, device=DEVICE)
    pattern, out = ByLatent(none, none, 3, 4), normal(3, D)
    pattern.sums(normal(0), normal(4, D), out)
    assert not out.any()
    assert pattern.dots(normal(3, D), normal(4, D)).shape == (0,)
    assert pattern.per_latent(normal(0)).tolist() == [0, 0, 0]


# ---- the optimiser


def updated(moments, steps, unit):
    rows = torch.nn.functional.normalize(normal(6, D), dim=1)
    adam = Adam({"weight": rows}, moments, seed=5)
    for step in range(steps):
        gradient = normal(6, D, seed=step + 1)
        # a row that did not fire
        gradient[2] = 0
        adam.start(step, rows.device)
        for some in (slice(0, 4), slice(4, 6)):
            along = (gradient[some] * rows[some]).sum(1) if unit else None
            adam.update("weight", rows[some], gradient[some].clone(), 0.01, some, along)
    return (rows, *adam.moments["weight"])


@pytest.mark.parametrize("unit", [False, True])
def test_an_update_equals_torchs(either, unit):
    ours, theirs = either(lambda: updated(torch.float32, 4, unit))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    if unit:
        torch.testing.assert_close(ours[0].norm(dim=1), torch.ones(6, device=DEVICE))


def test_moments_in_bfloat16_are_rounded_to_a_neighbour(either):
    ours, _ = either(lambda: updated(torch.bfloat16, 1, True))
    exact, _ = either(lambda: updated(torch.float32, 1, True))
    torch.testing.assert_close(ours[0], exact[0])
    up = 0
    for rounded, moment in zip(ours[1:], exact[1:], strict=True):
        assert rounded.dtype == torch.bfloat16
        # bfloat16 has 8 bits, so that its neighbours are at most 1/128 apart
        assert ((rounded.float() - moment).abs() <= moment.abs() / 128).all()
        up += int((rounded.float().abs() > moment.abs()).sum())
    assert 0 < up < 2 * 6 * D


def test_moments_in_bfloat16_are_right_on_average(fast):
    """To the nearest, the second moment would not move in these steps."""
    weight = torch.zeros(4, 1500, device=DEVICE)
    adam = Adam({"weight": weight}, torch.bfloat16, seed=0)
    for step in range(12):
        adam.start(step, weight.device)
        adam.update("weight", weight, torch.full_like(weight, 1.37 if step == 0 else 0.0), 0.0)
    for moment, one, beta in zip(adam.moments["weight"], (0.137, 1.37**2 / 1000), (0.9, 0.999), strict=True):
        assert float(moment.double().mean()) == pytest.approx(one * beta**11, rel=5e-4)


def test_a_step_rounds_alike_whenever_it_is_taken_and_unlike_others(fast):
    start, gradient, found = normal(6, D), normal(6, D, seed=1), []
    for step in (7, 8, 7):
        rows = start.clone()
        adam = Adam({"weight": rows}, torch.bfloat16, seed=5)
        adam.start(step, rows.device)
        adam.update("weight", rows, gradient, 0.0)
        found.append(adam.moments["weight"])
    for first, other, again in zip(*found, strict=True):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


# ---- a training

STEPS, BATCH, WIDTH = 2, 13, 24
SETTINGS = TrainSettings(steps=STEPS, tokens=STEPS * BATCH, lr=0.003, encoder_dtype="float32")
KINDS = {
    "tied": {"k": 3, "tied": True},
    "nested": {"k": 3, "matryoshka": (7, 20)},
    "batchtopk": {"k": 3, "activation": "batchtopk"},
    "jumprelu": {"k": 3, "activation": "jumprelu"},
}


def stream():
    directions = normal(30, WIDTH, seed=7)
    for step in range(STEPS):
        drawn = torch.Generator().manual_seed(step)
        fires = torch.rand(BATCH, 30, generator=drawn) * (torch.rand(BATCH, 30, generator=drawn) < 0.1)
        yield fires.to(DEVICE) @ directions + 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_ends_where_torchs_ends(either, kind):
    config = SaeConfig(d_in=WIDTH, latents=20, **KINDS[kind])
    (ours, log), (theirs, own_log) = either(lambda: train(config, stream(), SETTINGS))
    far = torch.cat([(ours.tensors()[name] - each).flatten() for name, each in theirs.tensors().items()])
    # Adam makes much of gradients that are only rounding; most weights are closer than a hundredth of a step
    assert far.square().mean().sqrt() < 0.01 * SETTINGS.lr
    assert log[-1].fvu == pytest.approx(own_log[-1].fvu, rel=1e-4)


def test_a_training_with_the_product_in_bfloat16_learns_as_well_and_repeats(either):
    config = SaeConfig(d_in=WIDTH, latents=20, k=3)
    half = dataclasses.replace(SETTINGS, encoder_dtype="bfloat16")
    (ours, log), (_, own_log) = either(lambda: train(config, stream(), half))
    assert log[-1].fvu == pytest.approx(own_log[-1].fvu, rel=0.02)
    again, _ = either(lambda: train(config, stream(), half))[0]
    assert all(torch.equal(tensor, again.tensors()[name]) for name, tensor in ours.tensors().items())


# ---- what decides, and what compiles


def test_triton_that_fails_is_named_and_left_alone(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("Triton works here")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    with pytest.warns(UserWarning, match=r"^sae: Triton does not work here \(.+\); plain torch trains$"):
        assert not sparse._has_kernels.__wrapped__("cuda")


def test_every_kernel_compiles(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, __file__],
        env={**environment, "PYTHONPATH": paths, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = set(done.stdout.split())
    assert compiled == {
        "_adam",
        "_chunk_sums",
        "_dots",
        "_segment_sums",
        "_segment_totals",
        "_top_k",
    }


def compile_all():
    """Compile what the launchers would start on GPUs that are not here, and print the names of the kernels."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    # KiB of shared memory that a program may have, by compute capability: an H200's (9.0) and an L4's (8.9)
    shared = {90: 227, 89: 99}

    class Absent:
        capability = 90

        def get_current_target(self):
            return GPUTarget("cuda", self.capability, 32)

        def get_current_device(self):
            return self.capability

        def get_current_stream(self, _):
            return 0

    def launch(kernel, grid):
        def compiled(*arguments, **options):
            made = kernel.run(*arguments, grid=grid, warmup=True, **options)
            assert made.metadata.shared <= 1024 * shared[gpu.capability]
            assert "cubin" in made.asm
            if kernel.__name__ == "_top_k":
                # on tensor cores
                assert ("wgmma" if gpu.capability == 90 else "mma.sync") in made.asm["ptx"]
            print(kernel.__name__)

        return compiled

    gpu = Absent()
    driver.set_active(gpu)
    JITFunction.__getitem__ = launch
    latents = 320
    # one width that kernels can load in vectors, and one that they cannot
    for d_in, ks in ((4096, (32, 64, 256)), (77, (32,))):
        rows, bias = torch.zeros(latents, d_in), torch.zeros(latents)
        for k in ks:
            kernels.top_k(rows.bfloat16(), rows.bfloat16(), bias, k)
        values, index = torch.zeros(500), torch.zeros(500, dtype=torch.int64)
        starts = torch.zeros(latents + 1, dtype=torch.int64)
        kernels.dots(rows, rows, index, index)
        for add in (False, True):
            kernels.segment_sums(values, index, starts, index, rows, rows, add)
        kernels.segment_totals(values, starts)
        for moment in (rows, rows.bfloat16()):
            for along in (None, bias) if d_in == 4096 else ():
                kernels.adam(
                    rows,
                    rows,
                    moment,
                    moment,
                    along,
                    index[:1],
                    step=1,
                    lr=0.1,
                    betas=(0.9, 0.999),
                    epsilon=1e-8,
                )
    gpu.capability = 89
    rows = torch.zeros(320, 4096)
    kernels.top_k(rows.bfloat16(), rows.bfloat16(), rows[:, 0].contiguous(), 32)


if __name__ == "__main__":
    compile_all()
