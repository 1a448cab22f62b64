"""Autoencoders' files: glossae's own, and those of other libraries."""

from glossae.sae.formats.detect import load
from glossae.sae.formats.fetching import fetch
from glossae.sae.formats.names import hookpoint
from glossae.sae.formats.own import save
from glossae.sae.formats.sae_lens import write as to_sae_lens
from glossae.sae.formats.sparsify import write as to_sparsify

__all__ = [
    "fetch",
    "hookpoint",
    "load",
    "save",
    "to_sae_lens",
    "to_sparsify",
]
