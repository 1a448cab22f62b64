"""A small autoencoder that was never trained, and edits made by hand on its whole dense code."""

from contextlib import contextmanager

import numpy as np
import torch

from glossae.effects import Step, measure_growing
from glossae.lm import Site
from glossae.sae import Sae, SaeConfig

SITE = Site("mlp.hidden", 1)
LATENTS, D = 40, 48
# never selected
NEVER = (37, 38, 39)


def random_sae(*, k=6, relu=True):
    sae = Sae(SaeConfig(d_in=D, latents=LATENTS, k=k, relu=relu))
    generator = torch.Generator().manual_seed(3)
    for parameter in sae.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    # low enough that many tokens have fewer than k latents above zero
    sae.b_enc.data -= 1
    sae.b_enc.data[list(NEVER)] -= 100
    return sae.requires_grad_(False)


def dense_code(sae, x):
    """The value of every latent at every token, zero where it is not selected."""
    code = torch.zeros(len(x), sae.config.latents)
    pre = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
    for token, row in enumerate(pre.tolist()):
        for latent in np.argsort([-value for value in row])[: sae.config.k]:
            code[token, latent] = max(row[latent], 0) if sae.config.relu else row[latent]
    return code


def edited_by_hand(sae, x, values, *, splice):
    """x with the latents in `values` ({latent: value}) fixed, and the reconstruction in its place if `splice`."""
    before = dense_code(sae, x)
    after = before.clone()
    for latent, value in values.items():
        after[:, latent] = value
    if splice:
        return after @ sae.W_dec + sae.b_dec
    return x + (after @ sae.W_dec + sae.b_dec) - (before @ sae.W_dec + sae.b_dec)


@contextmanager
def by_hand(lm, sae, edit):
    """`edit` made by hand in the model while the block runs, for passes over one sentence without pads."""

    def replace(_module, args):
        x = args[0][0]
        values = dict(zip(edit.units, edit.targets, strict=True))
        return (edited_by_hand(sae, x, values, splice=edit.splice)[None],)

    if edit is None or (edit.operation == "none" and not edit.splice):
        yield
        return
    handle = lm.blocks[SITE.layer].mlp.dense_4h_to_h.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def logits_by_hand(lm, ids):
    """The logits of one sentence, in a pass of its own."""
    return lm.model(torch.as_tensor(ids)[None], use_cache=False).logits[0]


def measured_on(lm, steps, tokens, **options):
    """A sweep on all of a text at the site `SITE`."""
    _, (measured,) = measure_growing(lm, SITE, [steps], tokens, precision=None, seed=0, **options)
    return measured


def steps_of(units, edits):
    """The steps of some edits of the same units."""
    return [Step(units, edit) for edit in edits]
