"""An autoencoder read by another encoder than it was trained with, as the paper's code does."""

import copy
import dataclasses

from glossae.sae import Sae


def without_pre_encoder_bias(sae: Sae) -> Sae:
    """The same weights, with an encoder that reads x where it was trained to read x - b_dec.

    The paper's code finds its latents and edits them by such a code (`get_activations`), although its formula
    (section 4.2) and its training take the bias off; what is decoded has it as ever. Weights are shared, not copied.
    One that was trained without a pre-encoder bias is as it was.
    """
    other = copy.copy(sae)
    other.config = dataclasses.replace(sae.config, pre_encoder_bias=False)
    return other
