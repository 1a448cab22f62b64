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
# # A public SAE instead of training
#
# Somebody else's SAE is read, measured on your text, and its latents are tested. To need no network, this
# notebook first writes an SAE of the toy in SAELens' format, and then takes it for a public one. With Gemma
# Scope, `PLACE` is the folder of one SAE, such as `gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71`,
# and the model `google/gemma-2-2b`.

# %%
from pathlib import Path

import glossae as gl
from glossae.sae import to_sae_lens

lm = gl.load("toy")
text = gl.text("toy")
PLACE = Path("public-sae")
made = gl.train(
    lm, text, site="attn.out", layer=1, latents=96, k=6, epochs=3, settings={"sae.matryoshka": [16]}
)
print(to_sae_lens(made, PLACE))

# %% [markdown]
# ## Read it
#
# The files say which site, layer and model it is of. An SAE of another model is refused.

# %%
sae = gl.Sae.load(PLACE)
sae

# %% [markdown]
# ## Test its latents
#
# `find` also measures its fidelity on your text. A public SAE was trained on other text, so look at that
# first.

# %%
units = gl.find(lm, sae, text, target="da")
units.table[["unit", "rate.da", "rate.en", "rate.sv", "sentence_auroc", "q_value"]]

# %% [markdown]
# ## Read one latent

# %%
units[units.numbers[0]]

# %% [markdown]
# On the command line, the same is `glossae run find --sae.from PLACE --baselines.trained 0 --baselines.frozen
# 0`, with a page as the result, and untrained SAEs beside it. `--sae.from hub:OWNER/NAME/FOLDER` fetches the
# SAE.
