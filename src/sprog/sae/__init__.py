"""What is in a layer: the sparse autoencoder, its training, its files, and how faithful it is."""

from sprog.sae.checkpoints import Checkpoints
from sprog.sae.config import SaeConfig
from sprog.sae.fits import check_fits
from sprog.sae.formats import fetch as fetch_sae
from sprog.sae.formats import hookpoint, to_sae_lens, to_sparsify
from sprog.sae.formats import load as read_sae
from sprog.sae.grid import Choice, Front, GridCell, choose, fronts, last_batches, not_dominated
from sprog.sae.misread import without_pre_encoder_bias
from sprog.sae.mixing import Mixer
from sprog.sae.product import fast_bfloat16
from sprog.sae.quality import Quality, SpliceLoss, measure, measure_reconstruction, unsound
from sprog.sae.sae import Codes, Sae, UnsoundWarning
from sprog.sae.start import untrained
from sprog.sae.train import train, train_group
from sprog.sae.trainer import TrainPoint, TrainSettings

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
    "without_pre_encoder_bias",
]
