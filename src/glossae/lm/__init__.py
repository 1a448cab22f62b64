"""Language models: loading one, its sites, what stands there, and changing it."""

from glossae.lm.architectures import ARCHITECTURES, Architecture, Place
from glossae.lm.batches import MAX_TOKENS, Batch, TokenizedCorpus, batches, pad, sentence_batches, tokenize
from glossae.lm.beginning import Beginning, adds_bos, begin, chat_ids, loss_as_begun, prompt_ids
from glossae.lm.continuing import continue_tokens, end_tokens
from glossae.lm.edit import SiteEdit, TokenEdit, edit, edits
from glossae.lm.final import Pool, final_states, mean_over_all, mean_over_text, text_states
from glossae.lm.finite import finite
from glossae.lm.generate import continue_prompts
from glossae.lm.gradient import Gradients, gradients
from glossae.lm.hub import known_commit, look_up
from glossae.lm.load import fast_bfloat16, load, locate, resolve_device, resolve_dtype
from glossae.lm.loss import sentence_losses, worth_scoring
from glossae.lm.model import LanguageModel, NormRange
from glossae.lm.passes import Passes
from glossae.lm.passes import clear as clear_passes
from glossae.lm.plain import with_sites
from glossae.lm.positions import POSITIONS, Positions, check_positions, chosen
from glossae.lm.replay import Reader, Replay, replay
from glossae.lm.replayed import Replayed, SideEffects, replayed, replayed_losses
from glossae.lm.sampling import growing, half_width, narrow_enough, random_order
from glossae.lm.sinks import FoundSinks, find_sinks, with_sinks
from glossae.lm.sites import SITE_NAMES, Site
from glossae.lm.split import SPLIT
from glossae.lm.stored import StoredActivations, stored_activations
from glossae.lm.stream import Activations, activations, in_text_order

__all__ = [
    "ARCHITECTURES",
    "MAX_TOKENS",
    "POSITIONS",
    "SITE_NAMES",
    "SPLIT",
    "Activations",
    "Architecture",
    "Batch",
    "Beginning",
    "FoundSinks",
    "Gradients",
    "LanguageModel",
    "NormRange",
    "Passes",
    "Place",
    "Pool",
    "Positions",
    "Reader",
    "Replay",
    "Replayed",
    "SideEffects",
    "Site",
    "SiteEdit",
    "StoredActivations",
    "TokenEdit",
    "TokenizedCorpus",
    "activations",
    "adds_bos",
    "batches",
    "begin",
    "chat_ids",
    "check_positions",
    "chosen",
    "clear_passes",
    "continue_prompts",
    "continue_tokens",
    "edit",
    "edits",
    "end_tokens",
    "fast_bfloat16",
    "final_states",
    "find_sinks",
    "finite",
    "gradients",
    "growing",
    "half_width",
    "in_text_order",
    "known_commit",
    "load",
    "locate",
    "look_up",
    "loss_as_begun",
    "mean_over_all",
    "mean_over_text",
    "narrow_enough",
    "pad",
    "prompt_ids",
    "random_order",
    "replay",
    "replayed",
    "replayed_losses",
    "resolve_device",
    "resolve_dtype",
    "sentence_batches",
    "sentence_losses",
    "stored_activations",
    "text_states",
    "tokenize",
    "with_sinks",
    "with_sites",
    "worth_scoring",
]
