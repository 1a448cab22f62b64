"""The paper's own numbers (Kirkegaard & Sibbesen 2025), to be shown beside a run of its recipe."""

from glossae.results import (
    PaperBest,
    PaperCell,
    PaperGrid,
    PaperLosses,
    PaperMean,
    PaperModel,
    PaperProbe,
    PaperProbes,
    PaperTasks,
    PublishedFigures,
    SaeKind,
)

# The grid of section 4.2, from the paper's repository (`grid_search_results.json`, rounded): means over the
# last eleven training batches except the very last. In each row: tied with a pre-encoder bias, tied without,
# separate with, separate without.
_KINDS = ((True, True), (True, False), (False, True), (False, False))
# k: (MSE, latents active per batch)
_TOPK = {
    2: ((0.0239, 33), (0.0236, 36), (0.0216, 67), (0.0212, 86)),
    5: ((0.0177, 95), (0.0174, 108), (0.0154, 148), (0.0157, 139)),
    10: ((0.0122, 232), (0.0124, 192), (0.0114, 245), (0.0112, 242)),
    30: ((0.0059, 763), (0.0057, 810), (0.0059, 482), (0.0056, 560)),
    70: ((0.0031, 1295), (0.0029, 1416), (0.0032, 744), (0.0032, 808)),
    100: ((0.0025, 1346), (0.0023, 1500), (0.0024, 878), (0.0024, 980)),
}
# weight of the L1 penalty: (MSE, latents active at a token, latents active per batch)
_RELU = {
    0.0005: ((0.0074, 35.2, 393), (0.0075, 35.7, 274), (0.0033, 146, 355), (0.0030, 155, 413)),
    0.001: ((0.0157, 12.0, 217), (0.0172, 11.6, 58), (0.0136, 32.0, 81), (0.0107, 46.0, 75)),
    0.002: ((0.0325, 1.4, 125), (0.0288, 2.7, 10), (0.0251, 7.0, 30), (0.0226, 10.4, 19)),
    0.003: ((0.0646, 0.31, 206), (0.0364, 1.4, 4.9), (0.0307, 3.0, 89), (0.0288, 4.4, 9)),
    0.004: ((0.0646, 0.23, 145), (0.0767, 0.003, 2), (0.0365, 1.4, 139), (0.0400, 1.5, 6)),
    0.005: ((0.0646, 0.16, 125), (0.0767, 0.001, 1), (0.0424, 0.87, 200), (0.0401, 1.4, 6)),
}
# token accuracy on held-out text, rounded: for each size the number of layers, the mean over layers at four
# lambdas, and the best layer with its accuracy at the weakest and the strongest
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


def published_figures() -> PublishedFigures:
    """The probes of section 4.1, the grid of 4.2, the latents of 5.1, and Appendices C and D."""
    return PublishedFigures(
        probes=_probes(),
        grid=PaperGrid(
            model="EleutherAI/pythia-14m",
            layer=3,
            cells=_grid_cells(),
            chosen=SaeKind(activation="topk", tied=False, pre_encoder_bias=True),
        ),
        selected_units=[20680, 26335, 27584, 41388, 44148, 46619],
        next_token=PaperLosses(
            source="ELRC_2923",
            values=[-8, -6, -4, -2, 0, 2, 4, 6, 8],
            losses={
                "da": [4.24, 3.68, 3.31, 3.09, 2.96, 2.90, 2.89, 2.92, 3.01],
                "en": [4.15, 3.99, 3.88, 3.81, 3.77, 3.77, 3.81, 3.87, 3.96],
            },
            no_modification={"da": 2.94, "en": 3.77},
        ),
        tasks=PaperTasks(
            metric="weighted F1",
            values=[-8, -4, 0, 4, 8],
            scores={
                "angry-tweets": [0.547, 0.590, 0.596, 0.612, 0.590],
                "scala-da": [0.402, 0.462, 0.486, 0.465, 0.458],
                "tweet-sentiment": [0.591, 0.603, 0.601, 0.606, 0.614],
            },
            no_modification={"angry-tweets": 0.607, "scala-da": 0.470, "tweet-sentiment": 0.609},
        ),
    )


def _grid_cells() -> list[PaperCell]:
    """The paper's 48 autoencoders."""
    topk = [("topk", k, None, mse, float(k), active) for k, row in _TOPK.items() for mse, active in row]
    relu = [("relu", None, l1, mse, l0, active) for l1, row in _RELU.items() for mse, l0, active in row]
    return [
        PaperCell(
            activation=activation,
            tied=tied,
            pre_encoder_bias=bias,
            k=k,
            l1=l1,
            mse=mse,
            l0=l0,
            active_per_batch=active,
        )
        for number, (activation, k, l1, mse, l0, active) in enumerate([*topk, *relu])
        for tied, bias in [_KINDS[number % len(_KINDS)]]
    ]


def _probes() -> PaperProbes:
    """Figure 3 in numbers: accuracy by model and lambda, and what stands behind it around layer 16 of Pythia 1.4B."""
    models = [
        PaperModel(
            model=f"EleutherAI/pythia-{size}",
            layers=layers,
            accuracy=[
                PaperMean(penalty=penalty, mean=mean) for penalty, mean in zip(_LAMBDAS, means, strict=True)
            ],
            best=[
                PaperBest(penalty=penalty, layer=layer, accuracy=accuracy)
                for penalty, (layer, accuracy) in ((_LAMBDAS[0], weakest), (_LAMBDAS[-1], strongest))
            ],
        )
        for size, (layers, means, weakest, strongest) in _MODELS.items()
    ]
    cells = [
        PaperProbe(
            model="EleutherAI/pythia-1.4b",
            layer=layer,
            penalty=penalty,
            norm=norm,
            bce=bce,
            accuracy=accuracy,
        )
        for penalty, row in _AROUND_16.items()
        for layer, (norm, bce, accuracy) in zip((15, 16, 17), row, strict=True)
    ]
    return PaperProbes(models=models, cells=cells)
