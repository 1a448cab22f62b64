# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Find a language's units
#
# Which layer of a model tells Danish from its nearest language, and which latents of a sparse autoencoder
# (SAE) stand for Danish? The toy model and its text come with glossae: no network, a minute or two on two cores. For
# a model of your own, replace the two lines that load.

# %%
import glossae as gl

lm = gl.load("toy")  # or "google/gemma-3-270m", or a folder
text = gl.text("toy")  # or gl.text(da="da.txt", en="en.txt", sv="sv.txt"): one sentence per line
text

# %% [markdown]
# The table shows the sentences by role. Units are found on one half of `panel`, and tested again on the other
# half; effects are measured on `test`.
#
# ## The layer
#
# The score of a layer is the least AUROC of held-out Danish sentences over those of another language.

# %%
layers = gl.probe(lm, text, target="da")
layers.plot()

# %% [markdown]
# ## The SAE
#
# The toy's attention of layer 1 collects the language of a text. With a model of your own, begin with
# `site="resid", layer=layers.best`, and leave the other numbers out.
#
# `quality` has its fidelity on held-out text. `unsound` says in words what is wrong with it; an empty tuple
# is good.

# %%
sae = gl.train(
    lm, text, site="attn.out", layer=1, latents=96, k=6, epochs=3, settings={"sae.matryoshka": [16]}
)
print({language: round(value, 3) for language, value in sae.quality.fvu.items()})
sae.unsound

# %% [markdown]
# ## The latents
#
# `find` tests each latent against every other language, at a false discovery rate of 0.05. If none passes, it
# takes those with the largest difference of firing rates, and `rule` is `fallback`.

# %%
units = gl.find(lm, sae, text, target="da")
print(units.rule)
units.plot()

# %% [markdown]
# `tests` has how many units of each kind pass each claim. Latents, neurons (coordinates of the site) and
# directions pass the same tests: if many coordinates pass, the layer separates the languages, whatever the
# SAE has learnt.

# %%
units.tests[["kind", "claim", "units", "of"]]

# %% [markdown]
# One latent: its rates by language, and the sentences of each language with its largest values.

# %%
units[units.numbers[0]]
