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
# # Steer and measure
#
# Turn a language's units up and down, read what the model writes, measure what it costs each language, and
# save the units as one small file. The toy stands for a model of your own.

# %%
import glossae as gl

lm = gl.load("toy")
text = gl.text("toy")
sae = gl.train(
    lm, text, site="attn.out", layer=1, latents=96, k=6, epochs=3, settings={"sae.matryoshka": [16]}
)
units = gl.find(lm, sae, text, target="da")
units

# %% [markdown]
# ## What the model writes
#
# At dose 1 each unit moves from its mean on English text to its mean on Danish text. Larger doses are beyond
# what the model does by itself, and break it sooner or later.

# %%
prompt = "The dog"
print("as it is:", lm.write(prompt))
for dose in (-4, 1, 4, 16):
    with units.turned(dose):
        print(f"dose {dose}:", lm.write(prompt))

# %% [markdown]
# ## What it costs
#
# Each language's next-token loss on held-out text, with the units fixed at multiples of their 99th percentile
# on Danish text. If Danish rises and English stays, the units are selective against English. Look at the
# nearest language too.

# %%
effect = gl.sweep(lm, units, text, values=[-4, 4])
effect.plot()

# %% [markdown]
# Languages are compared where the Danish loss has risen by 0.1 and 0.3 nats per token. `margin_per_byte` is
# the Danish rise less the other's, with a 95 % interval.

# %%
shown = ["edit", "at", "versus", "margin_per_byte", "margin_per_byte_low", "margin_per_byte_high"]
effect.selectivity.loc[effect.selectivity["reached"], shown]

# %% [markdown]
# ## One small file
#
# A knob holds the units' directions. It turns any copy of the model, also a plain `transformers` model,
# without glossae's SAE.

# %%
path = units.save("danish.safetensors")
knob = gl.Knob.load(path)
with knob.turned(4).on(lm):
    print(lm.write(prompt))
