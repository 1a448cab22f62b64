"""What is in a layer: the sparse autoencoder, its training and how faithful it is."""

from sprog.sae.checkpoints import Checkpoints
from sprog.sae.config import SaeConfig
from sprog.sae.grid import Choice, Front, GridCell, choose, fronts, last_batches, not_dominated
from sprog.sae.mixing import Mixer
from sprog.sae.product import fast_bfloat16
from sprog.sae.quality import Quality, SpliceLoss, measure, measure_reconstruction
from sprog.sae.sae import Codes, Sae
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
    "choose",
    "fast_bfloat16",
    "fronts",
    "last_batches",
    "measure",
    "measure_reconstruction",
    "not_dominated",
    "train",
    "train_group",
]
