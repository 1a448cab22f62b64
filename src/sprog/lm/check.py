"""Do the sites of this model, in this release of transformers, lie where the table says?"""

from functools import partial

import torch

from sprog.errors import SprogError
from sprog.lm.model import LanguageModel
from sprog.lm.sites import Activation, Site, attached

# any ids will do; a handful, so that the sequence dimension cannot be mistaken for another
CHECK_TOKENS = 5


@torch.no_grad()
def check_sites(lm: LanguageModel) -> dict[str, int]:
    """Run the model a few times and return the width of each site name.

    Checked: every site of every layer carries a tensor `(batch, seq, d)`, of one width per site name;
    putting the same tensors back changes no logit; turning its values round does (middle layer, each site name).

    Raises:
        SprogError: a site does not behave, which means that the architecture's table is wrong.
    """
    ids = torch.arange(CHECK_TOKENS, device=lm.device)[None] % lm.model.get_input_embeddings().num_embeddings
    plain = lm.model(ids, use_cache=False).logits
    seen: dict[Site, torch.Size] = {}

    def look(site: Site, x: Activation) -> Activation:
        seen[site] = x.shape
        return x.clone()

    sites = [Site(name, layer) for name in lm.architecture.places for layer in range(lm.layers)]
    with attached([(lm.tap(site), partial(look, site)) for site in sites]):
        same = lm.model(ids, use_cache=False).logits
    widths: dict[str, int] = {}
    for site in sites:
        shape = seen.get(site)
        if shape is None or len(shape) != 3 or shape[:2] != ids.shape:
            raise SprogError(
                f"model: {lm.name}: {site} should carry (1, {CHECK_TOKENS}, d) but carries {shape and tuple(shape)}"
            )
        if widths.setdefault(site.name, shape[2]) != shape[2]:
            raise SprogError(f"model: {lm.name}: {site} is {shape[2]} wide, other layers {widths[site.name]}")
    if not torch.equal(plain, same):
        raise SprogError(f"model: {lm.name}: putting the same tensors back at its sites changes its logits")
    for name in lm.architecture.places:
        # not a multiple of the tensor: a norm behind the last block would undo that
        with attached([(lm.tap(Site(name, lm.layers // 2)), lambda x: x.flip(-1))]):
            turned = lm.model(ids, use_cache=False).logits
        if torch.equal(plain, turned):
            raise SprogError(f"model: {lm.name}: turning the site '{name}' round changes no logit")
    return widths
