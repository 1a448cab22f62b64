"""What a grid shows, in sentences; where the paper's numbers are there, beside them."""

from collections.abc import Sequence

from glossae.report.kinds import (
    MEASURES,
    comparisons,
    kind_words,
    large_k,
    large_k_words,
    outdone,
    rank_correlation,
    sparsity_words,
)
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import listed, model_name, number, percent, plural, short, whole


def what_was_trained(files: RunFiles, grid: Row) -> str:
    """What was trained, on what."""
    whose = "" if grid["model"] == files.recipe.model else f" of {model_name(grid['model'])}"
    return (
        f"{plural(len(grid['cells']), 'autoencoder')} of {whole(grid['latents'])} latents each, all trained in one "
        f"pass over the same {whole(grid['train_tokens'])} tokens, on {grid['site']} of layer {grid['layer']}{whose} "
        f"({whole(grid['d_in'])} wide), and measured on {whole(grid['tokens'])} tokens of select."
    )


def finding(cells: Sequence[Row]) -> str:
    """Which activation outdoes the other; with one activation, how far the error goes."""
    activations = {cell["activation"] for cell in cells}
    if activations == {"topk", "relu"}:
        beaten, of_relu = outdone(cells, "relu", "topk")
        back, of_topk = outdone(cells, "topk", "relu")
        return (
            f"{beaten} of the {of_relu} ReLU autoencoders are outdone by a TopK one, with no more latents active at a "
            f"token and no more error; {back} of the {of_topk} TopK ones by a ReLU one."
        )
    best, worst = (pick(cells, key=lambda cell: cell["mse"]) for pick in (min, max))
    return (
        f"The mean squared error goes from {short(worst['mse'])} ({sparsity_words(worst)}) "
        f"to {short(best['mse'])} ({sparsity_words(best)})."
    )


def agreement(pairs: Sequence[tuple[Row, Row]], alike: int, compared: int) -> str:
    """How far the run's numbers go the way of the paper's."""
    ranks = {words: rank_correlation(pairs, measure) for measure, words in MEASURES.items()}
    ranked = [f"{number(value, 2)} in {words}" for words, value in ranks.items() if value is not None]
    order = f"the order of the {len(pairs)} autoencoders agrees to a rank correlation of {listed(ranked)}; "
    return (
        f"Beside the paper's numbers: {order if ranked else ''}{alike} of {compared} comparisons point the same way. "
        f"In its numbers: {finding([other for _, other in pairs])}"
    )


def choice(grid: Row, published: Row | None) -> str:
    """What the rule chooses, why, and whether the paper chose the same kind."""
    chosen = grid["chosen"]
    if chosen["cell"] is None:
        words = f"The rule chooses none. {chosen['reason']}"
    else:
        cell = grid["cells"][chosen["cell"]]
        words = f"The rule chooses {kind_words(cell)}, {sparsity_words(cell)}. {chosen['reason']}"
    if published is None:
        return words
    theirs = published["chosen"]
    words += f" The paper chose {kind_words(theirs)} (of the matrices its Table 4 says otherwise)"
    if chosen["cell"] is None:
        return f"{words}."
    cell = grid["cells"][chosen["cell"]]
    names = {"activation": "the activation", "tied": "the matrices", "pre_encoder_bias": "the bias"}
    apart = [name for part, name in names.items() if cell[part] != theirs[part]]
    return f"{words}: {'the same kind' if not apart else 'the rule differs in ' + listed(apart)}."


def disagreements(cells: Sequence[Row]) -> list[str]:
    """Where the paper's text says something else than its own numbers, or more than they can bear."""
    bound = large_k(cells)
    topk = [cell for cell in cells if cell["activation"] == "topk"]
    found = comparisons(topk)
    tied = {c.measure: c for c in found if bound and (c.what, c.among) == ("tied", large_k_words(bound))}
    bias = [r for c in found if (c.what, c.measure) == ("pre_encoder_bias", "mse") for r in c.ratios]
    helped = [ratio for ratio in bias if ratio < 1]
    said = []
    if bound and len(tied) == len(MEASURES):
        fewest = [
            min((cell for cell in topk if cell["k"] == k), key=lambda cell: float(cell["active_per_batch"]))
            for k in sorted({cell["k"] for cell in topk if cell["k"] >= bound})
        ]
        theirs = all(cell["pre_encoder_bias"] and not cell["tied"] for cell in fewest)
        said.append(
            f"Of tied matrices the paper's text sees no clear impact. Its own numbers show one: from k {bound} on, "
            f"{tied['active_per_batch'].words} as many latents are active in a batch, at {tied['mse'].words} the error"
            + ("; the kind that it chose has the fewest of all at each of these k." if theirs else ".")
        )
    if bias:
        said.append(
            "The pre-encoder bias it took on others' advice, seeing no clear difference. In its numbers the error of "
            f"TopK with one is smaller in {len(helped)} of {len(bias)} pairs"
            + (f", at best by {percent(1 - min(helped))}." if helped else ".")
        )
    if len(topk) < len(cells):
        said.append(
            "The decoder rows of its ReLU autoencoders are free. The penalty can then be paid off with smaller latents "
            "and longer rows, so that the weight of the penalty does not say how sparse an autoencoder had to be."
        )
    return said
