"""What is in a layer: the sparse autoencoder, its training and how faithful it is."""

from sprog.sae.mixing import mixed_batches
from sprog.sae.quality import Quality, SpliceLoss, measure
from sprog.sae.sae import Codes, Sae, SaeConfig
from sprog.sae.train import TrainPoint, TrainSettings, train

__all__ = [
    "Codes",
    "Quality",
    "Sae",
    "SaeConfig",
    "SpliceLoss",
    "TrainPoint",
    "TrainSettings",
    "measure",
    "mixed_batches",
    "train",
]
