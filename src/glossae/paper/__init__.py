"""What exists only to replay the paper: its code's protocols and its printed numbers."""

from glossae.paper.misread import without_pre_encoder_bias
from glossae.paper.probes import AsCodedCell, AsCodedRow, as_coded_table, paper_batches, replay_layers
from glossae.paper.published import published_figures
from glossae.paper.sentence_means import CODED_SENTENCES, CodedCell, coded_cells
from glossae.paper.tasks import as_coded

__all__ = [
    "CODED_SENTENCES",
    "AsCodedCell",
    "AsCodedRow",
    "CodedCell",
    "as_coded",
    "as_coded_table",
    "coded_cells",
    "paper_batches",
    "published_figures",
    "replay_layers",
    "without_pre_encoder_bias",
]
