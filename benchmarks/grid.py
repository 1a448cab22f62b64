"""The paper's grid of 48 autoencoders: in one pass by glossae against 48 runs of a plain version, turn by turn.

    python benchmarks/grid.py [--json] [--turns 2] [--steps 6] [--warm-up 200] [--threads 2]

The set-up is the recipe `paper`'s: `mlp.hidden` of layer 3 of a model of pythia-14m's shape (512 wide), 2,048 latents,
batches of 32 sentences (about 800 tokens), the published initialisation and training. The model's weights are
random, made on the spot and scaled so that the site's mean square is near Pythia's (0.077); the text is two
vocabularies of token ids with Zipf frequencies. The passes of the language model count, and stop at layer 3 on both
sides: glossae makes one for all 48, the plain version one for each.

What a ReLU autoencoder costs depends on how many latents are active, so all are first trained for a while (untimed,
from the published start), and both sides go on from there; the L0 that they had is printed.

The plain version is autograd with Adam: top-k with decoder rows gathered and summed, or a code of zeros with the
selected values in it (`plain, dense code`, for what it is worth); dense ReLU with an L1 penalty.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from glossae.lm import ARCHITECTURES, Batch, LanguageModel, Site, activations
from glossae.sae import Sae, SaeConfig, TrainSettings
from glossae.sae.training import Group

SITE, LATENTS = Site("mlp.hidden", 3), 2048
SENTENCES, MEAN_LENGTH, VOCABULARY = 32, 25, 50304
KS, L1S = (2, 5, 10, 30, 70, 100), (5e-4, 1e-3, 2e-3, 3e-3, 4e-3, 5e-3)
# steps of the paper's training: 66,200 sentences, 32 at a time
STEPS = 2070
Step = Callable[[Tensor], None]


def make_model(mean_square: float) -> LanguageModel:
    """A random GPT-NeoX of pythia-14m's shape, its MLP's input scaled until the site's mean square is right."""
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            num_hidden_layers=6,
            num_attention_heads=4,
            intermediate_size=512,
            rotary_pct=0.25,
            initializer_range=0.05,
        )
    ).eval()
    lm = LanguageModel(
        "random", None, model, None, ARCHITECTURES["gpt_neox"], {SITE.name: model.config.intermediate_size}
    )
    weight = model.gpt_neox.layers[SITE.layer].mlp.dense_h_to_4h.weight
    (batch,) = make_text(1, seed=1)
    for _ in range(8):
        found = float(at_site(lm, batch).square().mean())
        with torch.no_grad():
            weight.mul_((mean_square / found) ** 0.5)
    return lm


def make_text(count: int, seed: int) -> list[Batch]:
    """Batches of sentences, half of them in each of two vocabularies, ids by Zipf's law."""
    generator = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, VOCABULARY // 2 + 1)
    frequency /= frequency.sum()
    found = []
    for _ in range(count):
        lengths = np.maximum(3, generator.poisson(MEAN_LENGTH, SENTENCES))
        ids = np.zeros((SENTENCES, lengths.max()), dtype=np.int64)
        mask = np.arange(lengths.max()) < lengths[:, None]
        for row, length in enumerate(lengths):
            rank = generator.choice(VOCABULARY // 2, size=length, p=frequency)
            ids[row, :length] = 2 * rank + row % 2
        tensor = torch.from_numpy(mask)
        found.append(Batch(torch.from_numpy(ids), tensor, tensor.clone(), torch.arange(SENTENCES)))
    return found


def at_site(lm: LanguageModel, batch: Batch) -> Tensor:
    """The site's activations on a batch, the pass stopped there."""
    (part,) = activations(lm, [batch], [SITE])
    return part.sites[SITE]


def jobs() -> list[tuple[SaeConfig, TrainSettings]]:
    """The paper's 48, TopK first."""
    found = []
    sparsities = [("topk", k, 0.0) for k in KS] + [("relu", None, l1) for l1 in L1S]
    for (activation, k, l1), tied, bias in product(sparsities, (True, False), (True, False)):
        config = SaeConfig(
            d_in=512,
            latents=LATENTS,
            k=k,
            relu=False,
            activation=activation,
            tied=tied,
            pre_encoder_bias=bias,
        )
        tokens = STEPS * SENTENCES * MEAN_LENGTH
        found.append((config, TrainSettings(steps=STEPS, tokens=tokens, l1=l1, published=True)))
    return found


def plain_step(sae: Sae, l1: float, dense_code: bool) -> Step:
    """A training step of the plain version, from an autoencoder's present weights."""
    config = sae.config
    encoder, bias = (p.detach().clone().requires_grad_() for p in (sae.W_enc, sae.b_enc))
    decoder = encoder if config.tied else sae.W_dec.detach().clone().requires_grad_()
    learnt = [encoder, bias] if config.tied else [encoder, decoder, bias]
    centre = None
    if config.pre_encoder_bias:
        centre = sae.b_dec.detach().clone().requires_grad_()
        learnt.append(centre)
    optimizer = torch.optim.Adam(learnt, lr=1e-3)

    def step(x: Tensor) -> None:
        pre = torch.addmm(bias, x if centre is None else x - centre, encoder.T)
        penalty = 0.0
        if config.k is None:
            z = pre.relu()
            x_hat = z @ decoder
            penalty = l1 * z.sum(1).mean()
        else:
            values, indices = pre.topk(config.k, dim=1, sorted=False)
            if dense_code:
                x_hat = torch.zeros_like(pre).scatter(1, indices, values) @ decoder
            else:
                x_hat = (values[..., None] * decoder[indices]).sum(1)
        if centre is not None:
            x_hat = x_hat + centre
        loss = (x_hat - x).square().mean() + penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds_a_step(lm: LanguageModel, batches: Sequence[Batch], step: Step) -> float:
    """Seconds for a batch's pass and step, after one that warms up."""
    step(at_site(lm, batches[0]))
    start = time.perf_counter()
    for batch in batches[1:]:
        step(at_site(lm, batch))
    return (time.perf_counter() - start) / (len(batches) - 1)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of each in a turn")
    parser.add_argument("--warm-up", type=int, default=200, help="steps of training before anything is timed")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lm = make_model(0.077)
    grid = jobs()
    warming = make_text(max(1, arguments.warm_up), seed=2)
    x = at_site(lm, warming[0])
    print(
        f"site: mean square {float(x.square().mean()):.4f}, variance {float(x.var(0).mean()):.4f}; "
        f"{len(x)} tokens in the first batch"
    )
    group = Group.started(grid, x)
    half = len(group.trainers) // 2
    start = time.perf_counter()
    for batch in warming[: arguments.warm_up]:
        group.step(at_site(lm, batch))
    print(f"{arguments.warm_up} steps of training before: {time.perf_counter() - start:.0f} s", flush=True)
    if arguments.warm_up:
        for trainer in group.trainers[half:]:
            config, l0 = trainer.config, trainer.log[-1].l0
            kind = (
                f"{'tied' if config.tied else 'separate'}, {'bias' if config.pre_encoder_bias else 'no bias'}"
            )
            print(f"  relu, L1 {trainer.settings.l1:g}, {kind}: L0 {l0:.1f}, fvu {trainer.log[-1].fvu:.3f}")
    names = ("ours", "ours, TopK", "plain, TopK", "plain, ReLU", "plain, dense code, TopK")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(arguments.turns):
        batches = make_text(arguments.steps + 1, seed=3 + turn)
        for name, trainers in (("ours", group.trainers), ("ours, TopK", group.trainers[:half])):
            seconds[name].append(seconds_a_step(lm, batches, Group(trainers).step))
        for name, trainers, dense in (
            ("plain, TopK", group.trainers[:half], False),
            ("plain, ReLU", group.trainers[half:], False),
            ("plain, dense code, TopK", group.trainers[:half], True),
        ):
            each = [seconds_a_step(lm, batches, plain_step(t.sae, t.settings.l1, dense)) for t in trainers]
            seconds[name].append(sum(each))
        print(f"turn {turn + 1}: " + "; ".join(f"{n} {s[-1]:.2f} s" for n, s in seconds.items()), flush=True)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    tokens = SENTENCES * MEAN_LENGTH
    row = {
        "autoencoders": len(grid),
        "d_in": 512,
        "latents": LATENTS,
        "tokens": tokens,
        "dtype": "float32",
        "device": "cpu",
        "relu_l0": {f"{t.settings.l1:g}": t.log[-1].l0 for t in group.trainers[half::4] if t.log},
        "seconds_a_step": middle,
        "all": middle["ours"] / (middle["plain, TopK"] + middle["plain, ReLU"]),
        "topk": middle["ours, TopK"] / middle["plain, TopK"],
        "all_to_dense_code": middle["ours"] / (middle["plain, dense code, TopK"] + middle["plain, ReLU"]),
        "topk_to_dense_code": middle["ours, TopK"] / middle["plain, dense code, TopK"],
    }
    print(
        f"all 48: ours takes 1/{1 / row['all']:.1f} of the time; the TopK half: 1/{1 / row['topk']:.1f} "
        f"(against the plain version with a dense code: 1/{1 / row['all_to_dense_code']:.1f} "
        f"and 1/{1 / row['topk_to_dense_code']:.1f})"
    )
    if arguments.json:
        print(json.dumps({"cases": [row]}))


if __name__ == "__main__":
    main()
