"""A small autoencoder that was never trained, and what it does by hand, token by token."""

import numpy as np
import torch

from glossae.lm import Site
from glossae.sae import Sae, SaeConfig

SITE = Site("mlp.hidden", 1)
LATENTS = 40


def random_sae(d_in=48, *, k=6, relu=True):
    sae = Sae(SaeConfig(d_in=d_in, latents=LATENTS, k=k, relu=relu))
    generator = torch.Generator().manual_seed(3)
    for parameter in sae.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    # low enough that many tokens have fewer than k latents above zero; and a few that are never selected
    sae.b_enc.data -= 1
    sae.b_enc.data[-3:] -= 100
    return sae.requires_grad_(False)


def site_by_hand(lm, ids, *, prefix=0):
    """What the MLP of layer 1 hands to its output projection: one unpadded sentence, a hook of our own."""
    seen = []
    handle = lm.blocks[1].mlp.dense_4h_to_h.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    with torch.no_grad():
        lm.model(torch.from_numpy(ids)[None])
    handle.remove()
    return seen[0][0, prefix:]


def codes_by_hand(sae, x):
    """(pre-activations, values, fires) of every latent at every token of x, all `(tokens, latents)`."""
    pre = ((x - sae.b_dec) @ sae.W_enc.T + sae.b_enc).double().numpy()
    values, fires = np.zeros_like(pre), np.zeros(pre.shape, dtype=bool)
    for token, row in enumerate(pre):
        for latent in np.argsort(-row)[: sae.config.k]:
            values[token, latent] = max(row[latent], 0) if sae.config.relu else row[latent]
            fires[token, latent] = row[latent] > 0 or not sae.config.relu
    return pre, values, fires


def dense_by_language(lm, sae, tokens):
    """{language: (pre-activations, values, fires)} of all its tokens, in the order of the sentences."""
    found = {}
    for ids, sentence in zip(tokens.ids, tokens.corpus.sentences, strict=True):
        parts = codes_by_hand(sae, site_by_hand(lm, ids, prefix=tokens.prefix))
        found.setdefault(sentence.language, []).append(parts)
    return {
        language: tuple(np.concatenate(kind) for kind in zip(*parts, strict=True))
        for language, parts in found.items()
    }
