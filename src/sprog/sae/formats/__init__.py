"""Autoencoders' files: sprog's own, and those of other libraries."""

from sprog.sae.formats.detect import load
from sprog.sae.formats.fetching import fetch
from sprog.sae.formats.names import hookpoint
from sprog.sae.formats.own import save
from sprog.sae.formats.sae_lens import write as to_sae_lens
from sprog.sae.formats.sparsify import write as to_sparsify

__all__ = ["fetch", "hookpoint", "load", "save", "to_sae_lens", "to_sparsify"]
