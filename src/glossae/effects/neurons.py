"""Neurons of many layers switched off at once, as edits of a running model."""

from collections.abc import Mapping, Sequence

from glossae.effects.edits import Edit
from glossae.lm import LanguageModel, Positions, Site, SiteEdit
from glossae.units import Neurons


def neurons_off(
    lm: LanguageModel, neurons: Mapping[int, Sequence[int]], *, positions: Positions = "all"
) -> list[SiteEdit]:
    """The edits that set neurons of `mlp.hidden` to 0 at all their layers at once, for `glossae.lm.edits`.

    That is how Tang et al. (2024, section 3.2) deactivate LAPE neurons. `features.lape(...).neurons` gives such a
    mapping, and `.best(n)` that of the n neurons of lowest entropy.

    Args:
        lm: the model.
        neurons: from the layer to the numbers of its neurons.
        positions: which tokens are edited; see `glossae.lm.chosen`.

    Raises:
        GlossaeError: there is no such layer or neuron, or a neuron is named twice.
    """
    changes = []
    for layer, ids in sorted(neurons.items()):
        if ids:
            site = Site("mlp.hidden", layer)
            units = Neurons(site, lm.width(site), model=lm.name)
            changes.append(SiteEdit(site, Edit("zero", tuple(ids)).compile(units), positions))
    return changes
