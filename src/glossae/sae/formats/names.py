"""Names of sites in other libraries: TransformerLens' hooks, and modules of Hugging Face models."""

import re

from glossae.errors import GlossaeError
from glossae.lm import ARCHITECTURES, Site

# for an SAE that does not name its site
UNKNOWN = Site("", 0)
# TransformerLens' hooks inside `blocks.LAYER.`
HOOKS = {
    "resid": "hook_resid_post",
    "mlp.hidden": "mlp.hook_post",
    "mlp.out": "hook_mlp_out",
    "attn.out": "hook_attn_out",
}
# sites that are outputs of modules inside a block of a Hugging Face model
OUTPUTS = {
    "": "resid",
    **dict.fromkeys(("mlp", "mlp.dense_4h_to_h", "mlp.down_proj", "mlp.c_proj", "mlp.fc_out"), "mlp.out"),
    **dict.fromkeys(("fc2", "mlp.fc2", "post_feedforward_layernorm"), "mlp.out"),
    **dict.fromkeys(("attention", "attn", "self_attn", "attention.dense", "self_attn.o_proj"), "attn.out"),
    **dict.fromkeys(("attn.c_proj", "attn.out_proj", "self_attn.out_proj", "self_attn.dense"), "attn.out"),
    "attn.attention.out_proj": "attn.out",
    # only MLPs without a gate; with one, the module has another name
    "mlp.act": "mlp.hidden",
}
# sites that are inputs of modules
INPUTS = dict.fromkeys(
    ("mlp.dense_4h_to_h", "mlp.down_proj", "mlp.c_proj", "mlp.fc_out", "fc2", "mlp.fc2"), "mlp.hidden"
)
# architectures whose MLP output is exactly the output of a module `mlp.act`
ACTS = ("gpt_neox", "gpt2", "gptj")
# in these a norm stands between a sub-layer and the residual stream
NORMED = re.compile(r"gemma-?[23]|olmo-?2", re.IGNORECASE)
NORMED_OUTPUTS = {
    "": "resid",
    "post_feedforward_layernorm": "mlp.out",
    "post_attention_layernorm": "attn.out",
}
# a number with more digits is not a layer, and Python would refuse to parse it
MODULE = re.compile(r"(?:^|\.)(?:layers|h)\.(\d{1,5})(?:\.(.+))?")
HOOK = re.compile(r"blocks\.(\d{1,5})\.(.+)")


def site_of(name: str, model: str = "", side: str = "output") -> Site:
    """The site of a hook of TransformerLens or a module of a Hugging Face model; `UNKNOWN` for other names.

    Names are such as `blocks.3.hook_resid_post`, `gpt_neox.layers.3.mlp` and `h.3`. `model` matters because
    modules of the same name are different sites in some models.
    """
    if hook := HOOK.fullmatch(name):
        layer, inside = int(hook[1]), hook[2]
        if inside == "hook_resid_pre" and layer > 0:
            return Site("resid", layer - 1)
        return next((Site(site, layer) for site, its in HOOKS.items() if its == inside), UNKNOWN)
    module = MODULE.search(name)
    if not module or module.end() != len(name):
        return UNKNOWN
    outputs = NORMED_OUTPUTS if NORMED.search(model) else OUTPUTS
    found = (INPUTS if side == "input" else outputs).get(module[2] or "")
    return Site(found, int(module[1])) if found else UNKNOWN


def hook_name(site: str, layer: int) -> str | None:
    """TransformerLens' name of a site, such as `blocks.3.hook_resid_post`; None for an unknown site."""
    return f"blocks.{layer}.{HOOKS[site]}" if site in HOOKS else None


def hookpoint(site: Site, model_type: str | None) -> str:
    """The module, relative to `model.base_model`, whose output is the site.

    Args:
        site: the site.
        model_type: the `model_type` of the model's configuration. If unknown, blocks are taken to be called
            `layers` and an MLP `mlp`, as in most models.

    Raises:
        GlossaeError: the site is not a module's output, or the module has no common name.
    """
    ask = "name the module with --hookpoint"
    architecture = ARCHITECTURES.get(model_type or "")
    if architecture is None or site.name not in architecture.places:
        blocks, path = "layers", {"resid": "", "mlp.out": "mlp"}.get(site.name)
        if path is None:
            raise GlossaeError(
                f"--to: which module gives {site.name} is not known of this model, or the model is not at hand; {ask}"
            )
    else:
        blocks = architecture.blocks.partition(".")[2]
        path, side = architecture.places[site.name][:2]
        if side == "input":
            if model_type not in ACTS:
                raise GlossaeError(
                    f"--to: sparsify reads what modules give, and {site.name} is what {path} is given; {ask}"
                )
            path = "mlp.act"
    return ".".join(filter(None, (blocks, str(site.layer), path)))
