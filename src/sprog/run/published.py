"""The paper's own numbers (Kirkegaard & Sibbesen 2025), to stand beside a run of its recipe."""

from typing import Any


def published_figures() -> dict[str, Any]:
    """Section 5.1, Appendix C (cross-entropy) and Appendix D (weighted F1), as printed.

    `no_modification` is the spliced model without an edit: the unmodified model was not measured.
    """
    return {
        "selected_units": [20680, 26335, 27584, 41388, 44148, 46619],
        "next_token": {
            "source": "ELRC_2923",
            "values": [-8, -6, -4, -2, 0, 2, 4, 6, 8],
            "da": [4.24, 3.68, 3.31, 3.09, 2.96, 2.90, 2.89, 2.92, 3.01],
            "en": [4.15, 3.99, 3.88, 3.81, 3.77, 3.77, 3.81, 3.87, 3.96],
            "no_modification": {"da": 2.94, "en": 3.77},
        },
        "tasks": {
            "metric": "weighted F1",
            "values": [-8, -4, 0, 4, 8],
            "angry-tweets": [0.547, 0.590, 0.596, 0.612, 0.590],
            "scala-da": [0.402, 0.462, 0.486, 0.465, 0.458],
            "tweet-sentiment": [0.591, 0.603, 0.601, 0.606, 0.614],
            "no_modification": {"angry-tweets": 0.607, "scala-da": 0.470, "tweet-sentiment": 0.609},
        },
    }
