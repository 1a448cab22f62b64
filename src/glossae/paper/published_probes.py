"""What the paper's repository keeps of its probes (Kirkegaard & Sibbesen 2025, section 4.1, Figure 3)."""

from typing import Any

# token accuracy on held-out text, rounded: of each size the number of layers, the mean over layers at four lambdas,
# and the best layer with its accuracy at the weakest and the strongest
_LAMBDAS = (0.1, 1.26, 4.48, 30.0)
_MODELS = {
    "14m": (6, (0.941, 0.815, 0.620, 0.545), (5, 0.976), (3, 0.766)),
    "70m": (6, (0.963, 0.715, 0.535, 0.555), (5, 0.986), (4, 0.822)),
    "160m": (12, (0.956, 0.696, 0.567, 0.541), (9, 0.983), (10, 0.858)),
    "410m": (24, (0.968, 0.826, 0.563, 0.509), (5, 0.985), (19, 0.826)),
    "1b": (16, (0.970, 0.877, 0.631, 0.535), (1, 0.991), (13, 0.867)),
    "1.4b": (24, (0.969, 0.886, 0.649, 0.564), (15, 0.982), (16, 0.969)),
    "2.8b": (32, (0.959, 0.742, 0.692, 0.522), (31, 0.986), (27, 0.797)),
}
# lambda: (norm of the weights, BCE, accuracy) at layers 15, 16 and 17 of the 1.4b model
_AROUND_16 = {
    1.26: ((0.144, 0.51, 0.935), (0.194, 0.32, 0.957), (0.189, 0.35, 0.948)),
    2.38: ((0.012, 0.68, 0.517), (0.074, 0.50, 0.972), (0.072, 0.53, 0.964)),
    4.48: ((0.005, 0.689, 0.483), (0.009, 0.67, 0.953), (0.006, 0.675, 0.931)),
    8.45: ((0.005, 0.692, 0.607), (0.005, 0.688, 0.674), (0.004, 0.689, 0.531)),
    15.9: ((0.005, 0.692, 0.517), (0.003, 0.690, 0.900), (0.003, 0.691, 0.622)),
    30.0: ((0.003, 0.693, 0.517), (0.005, 0.692, 0.969), (0.003, 0.692, 0.517)),
}


def published_probes() -> dict[str, Any]:
    """Figure 3 in numbers: accuracy by model and lambda, and what stands behind it around layer 16 of Pythia 1.4B."""
    return {
        "models": [
            {
                "model": f"EleutherAI/pythia-{size}",
                "layers": layers,
                "accuracy": [
                    {"lambda": penalty, "mean": mean} for penalty, mean in zip(_LAMBDAS, means, strict=True)
                ],
                "best": [
                    {"lambda": penalty, "layer": layer, "accuracy": accuracy}
                    for penalty, (layer, accuracy) in ((_LAMBDAS[0], weakest), (_LAMBDAS[-1], strongest))
                ],
            }
            for size, (layers, means, weakest, strongest) in _MODELS.items()
        ],
        "cells": [
            {
                "model": "EleutherAI/pythia-1.4b",
                "layer": layer,
                "lambda": penalty,
                "norm": norm,
                "bce": bce,
                "accuracy": accuracy,
            }
            for penalty, row in _AROUND_16.items()
            for layer, (norm, bce, accuracy) in zip((15, 16, 17), row, strict=True)
        ],
    }
