"""What is in a layer: the sparse autoencoder, its training and how faithful it is."""

from sprog.sae.mixing import mixed_batches
from sprog.sae.quality import Quality, SpliceLoss, measure
from sprog.sae.config import SaeConfig
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
    "measure",
    "mixed_batches",
    "train",
    "train_group",
]
