"""What is in a layer: the sparse autoencoder, its training and how faithful it is."""

from sprog.sae.config import SaeConfig
from sprog.sae.fits import check_fits
from sprog.sae.formats import hookpoint, to_sae_lens, to_sparsify
from sprog.sae.mixing import mixed_batches
from sprog.sae.quality import Quality, SpliceLoss, measure
from sprog.sae.sae import Codes, Sae
from sprog.sae.train import train, train_group
from sprog.sae.trainer import TrainPoint, TrainSettings

__all__ = [
    "Codes",
    "Quality",
    "Sae",
    "SaeConfig",
    "SpliceLoss",
    "TrainPoint",
    "TrainSettings",
    "check_fits",
    "hookpoint",
    "measure",
    "mixed_batches",
    "to_sae_lens",
    "to_sparsify",
    "train",
    "train_group",
]
