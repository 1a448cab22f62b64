"""What is cheaper than latents at the run's site: its coordinates, and directions made from text of `train`."""

import torch

from glossae.lm import Site
from glossae.run.context import Context
from glossae.run.samples import first_tokens
from glossae.units import (
    Directions,
    Moments,
    Neurons,
    activation_samples,
    difference_of_means,
    discriminants,
    probe_normal,
    random_directions,
)

RANDOM_DIRECTIONS = 8
# tokens of each language behind a direction: enough for a mean and a probe of so many dimensions, and quickly read
DIRECTION_TOKENS, PER_DIMENSION = 20_000, 8


def site_neurons(context: Context, site: Site) -> Neurons:
    """The site's coordinates, both ways where they speak both ways."""
    lm = context.lm
    return Neurons(site, lm.width(site), signed=site.name != "mlp.hidden", model=lm.name)


def language_directions(context: Context, site: Site) -> tuple[Directions, Moments]:
    """The difference of means, the discriminant and the probe's normal, target against reference; and random ones.

    Beside them the moments of the text of `train` that they are made from.
    """
    recipe, lm, target, reference = context.recipe, context.lm, context.target, context.reference
    enough = min(DIRECTION_TOKENS, PER_DIMENSION * lm.width(site))
    tokens = first_tokens(context.pair_tokens("train"), enough)
    x, languages = activation_samples(lm, site, tokens, budget=recipe.batch_tokens)
    moments = Moments.of(x, languages, site=site)
    means = difference_of_means(moments, target, (reference,))
    found = [
        ("difference of means", means),
        ("discriminant", discriminants(moments, target, (reference,))),
        ("probe", probe_normal(x, languages, target, (reference,), site=site)),
        (
            "random",
            random_directions(
                RANDOM_DIRECTIONS, lm.width(site), seed=recipe.seed, centre=moments.mean(reference), site=site
            ),
        ),
    ]
    names = [
        name if len(directions) == 1 else f"{name} {number}"
        for name, directions in found
        for number in range(len(directions))
    ]
    vectors, offsets = (
        torch.cat([getattr(directions, what).cpu() for _, directions in found])
        for what in ("vectors", "offsets")
    )
    return Directions(names, vectors, offsets, site=site), moments
