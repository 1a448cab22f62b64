"""What is in a layer: the sparse autoencoder, its training, its files, and how faithful it is."""

from glossae.sae.checkpoints import Checkpoints
from glossae.sae.config import SaeConfig
from glossae.sae.fits import check_fits
from glossae.sae.formats.detect import load as read_sae
from glossae.sae.formats.fetching import fetch as fetch_sae
from glossae.sae.formats.names import hookpoint
from glossae.sae.formats.sae_lens import write as to_sae_lens
from glossae.sae.formats.sparsify import write as to_sparsify
from glossae.sae.grid import Choice, Front, GridCell, choose, fronts, last_batches, not_dominated
from glossae.sae.mixing import Mixer
from glossae.sae.product import fast_bfloat16
from glossae.sae.quality import Quality, SpliceLoss, measure, measure_reconstruction, unsound
from glossae.sae.sae import Codes, Sae, UnsoundWarning
from glossae.sae.start import untrained
from glossae.sae.train import train, train_group
from glossae.sae.trainer import TrainPoint, TrainSettings

__all__ = [
    "Checkpoints",
    "Choice",
    "Codes",
    "Front",
    "GridCell",
    "Mixer",
    "Quality",
    "Sae",
    "SaeConfig",
    "SpliceLoss",
    "TrainPoint",
    "TrainSettings",
    "UnsoundWarning",
    "check_fits",
    "choose",
    "fast_bfloat16",
    "fetch_sae",
    "fronts",
    "hookpoint",
    "last_batches",
    "measure",
    "measure_reconstruction",
    "not_dominated",
    "read_sae",
    "to_sae_lens",
    "to_sparsify",
    "train",
    "train_group",
    "unsound",
    "untrained",
]
