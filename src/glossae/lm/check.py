"""Do the sites of this model, in this release of transformers, lie where the table says?"""

from functools import partial

import torch
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Site, attached

# any ids will do; a handful, so that the sequence dimension cannot be mistaken for another
CHECK_TOKENS = 5


@torch.no_grad()
def check_sites(lm: LanguageModel) -> dict[str, int]:
    """Run the model a few times and return the width of each site name.

    Checked: the logits are finite; every site of every layer carries a tensor `(batch, seq, d)`, of one width
    per site name; putting the same tensors back changes no logit; turning its values round does (middle layer,
    each site name).

    Raises:
        GlossaeError: it cannot be run, or its logits are not finite; or a site does not behave, which means that
            the architecture's table is wrong.
    """
    ids = torch.arange(CHECK_TOKENS, device=lm.device)[None] % lm.model.get_input_embeddings().num_embeddings
    # without a mask transformers warns of ids that could be pads
    run = partial(lm.model, ids, attention_mask=torch.ones_like(ids), use_cache=False)
    try:
        plain = run().logits
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        # its config.json contradicts itself, or there is no memory left
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise GlossaeError(f"model: {lm.name} cannot be run: {reason}") from error
    if not torch.isfinite(plain).all():
        raise GlossaeError(
            f"model: {lm.name}: its logits are NaN or infinite in {str(lm.model.dtype).removeprefix('torch.')}, "
            "although its weights are not; another dtype may do"
        )
    seen: dict[Site, torch.Size] = {}

    def look(site: Site, x: Tensor) -> Tensor:
        seen[site] = x.shape
        return x.clone()

    sites = [Site(name, layer) for name in lm.architecture.places for layer in range(lm.layers)]
    with attached([(lm.tap(site), partial(look, site)) for site in sites]):
        same = run().logits
    widths: dict[str, int] = {}
    for site in sites:
        shape = seen.get(site)
        if shape is None or len(shape) != 3 or shape[:2] != ids.shape:
            raise GlossaeError(
                f"model: {lm.name}: {site} should carry (1, {CHECK_TOKENS}, d) but carries {shape and tuple(shape)}"
            )
        if widths.setdefault(site.name, shape[2]) != shape[2]:
            raise GlossaeError(
                f"model: {lm.name}: {site} is {shape[2]} wide, other layers {widths[site.name]}"
            )
    if not torch.equal(plain, same):
        raise GlossaeError(f"model: {lm.name}: putting the same tensors back at its sites changes its logits")
    for name in lm.architecture.places:
        # not a multiple of the tensor: a norm behind the last block would undo that
        with attached([(lm.tap(Site(name, lm.layers // 2)), lambda x: x.flip(-1))]):
            turned = run().logits
        if torch.equal(plain, turned):
            raise GlossaeError(f"model: {lm.name}: turning the site '{name}' round changes no logit")
    return widths
