"""What it costs to replay the paper's own probes."""

from glossae.plan.work import Work

# the paper's sentences of a batch (probe.as_coded), and operations of a step on one small set of weights
BATCH_SENTENCES, OPERATIONS = 32, 60


def replay_work(
    model: str, layers: int, width: int, penalties: int, seeds: int, sentence_tokens: float
) -> Work:
    """The optimiser's steps on every layer, the probes of all penalties on the same batches.

    Args:
        model: its name, by which the paper's code has a number of batches.
        layers: of the model.
        width: of the site.
        penalties: how many lambdas.
        seeds: how many splits of the sample.
        sentence_tokens: of a sentence, on average.
    """
    # torch is heavy, and `glossae doctor` uses this room too
    from glossae.paper import paper_batches

    steps, values = layers * paper_batches(model) * seeds, BATCH_SENTENCES * sentence_tokens * width
    return Work(
        # a product, and another for its gradient
        float_flops=4 * values * penalties * steps,
        # activations are fetched, and read by either product
        moved=16 * values * steps,
        operations=OPERATIONS * steps,
    )
