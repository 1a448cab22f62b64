"""The replay of the paper: the protocols of its code, and its printed numbers."""

from glossae.paper.as_coded import (
    CODED_SENTENCES,
    as_coded,
    coded_cells,
    coded_statistics,
    coded_text,
    without_pre_encoder_bias,
)
from glossae.paper.probes import AsCodedCell, as_coded_table, paper_batches, replay_agreement, replay_layers
from glossae.paper.published import published_figures

__all__ = [
    "CODED_SENTENCES",
    "AsCodedCell",
    "as_coded",
    "as_coded_table",
    "coded_cells",
    "coded_statistics",
    "coded_text",
    "paper_batches",
    "published_figures",
    "replay_agreement",
    "replay_layers",
    "without_pre_encoder_bias",
]
