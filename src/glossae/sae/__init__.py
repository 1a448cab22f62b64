"""Sparse autoencoders (SAEs): train them, read and write their files, and measure their fidelity."""

from glossae.sae.card import CARD, MARK, metadata, plain, sae_card, table
from glossae.sae.costs import OPERATIONS, StepCost, step_cost
from glossae.sae.formats.locating import fetch as fetch_sae
from glossae.sae.formats.locating import load as read_sae
from glossae.sae.formats.names import hook_name, hookpoint
from glossae.sae.formats.sae_lens import write as to_sae_lens
from glossae.sae.formats.sharing import FILES as SHARED_FILES
from glossae.sae.formats.sharing import snippets
from glossae.sae.formats.sharing import write as to_shared
from glossae.sae.formats.sparsify import write as to_sparsify
from glossae.sae.formats.writing import check_card
from glossae.sae.grid import choose, fronts, last_batches
from glossae.sae.quality import check_fits, measure, measure_reconstruction, sink_losses
from glossae.sae.sae import Codes, Quality, Sae, SaeConfig, UnsoundWarning
from glossae.sae.trainer import TrainPoint, TrainSettings, untrained
from glossae.sae.training import KEPT, Checkpoints, Mixer, train, train_group
from glossae.sae.whole import placed

__all__ = [
    "CARD",
    "KEPT",
    "MARK",
    "OPERATIONS",
    "SHARED_FILES",
    "Checkpoints",
    "Codes",
    "Mixer",
    "Quality",
    "Sae",
    "SaeConfig",
    "StepCost",
    "TrainPoint",
    "TrainSettings",
    "UnsoundWarning",
    "check_card",
    "check_fits",
    "choose",
    "fetch_sae",
    "fronts",
    "hook_name",
    "hookpoint",
    "last_batches",
    "measure",
    "measure_reconstruction",
    "metadata",
    "placed",
    "plain",
    "read_sae",
    "sae_card",
    "sink_losses",
    "snippets",
    "step_cost",
    "table",
    "to_sae_lens",
    "to_shared",
    "to_sparsify",
    "train",
    "train_group",
    "untrained",
]
