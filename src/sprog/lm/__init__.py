"""Language models: loading one, its sites, what stands there, and changing it."""

from sprog.lm.architectures import ARCHITECTURES, Architecture, Place
from sprog.lm.batches import MAX_TOKENS, Batch, TokenizedCorpus, batches, pad, sentence_batches, tokenize
from sprog.lm.beginning import Beginning, adds_bos, begin, chat_ids, loss_as_begun, prompt_ids
from sprog.lm.continuing import continue_tokens, end_tokens
from sprog.lm.edit import SiteEdit, TokenEdit, edit, edits
from sprog.lm.final import Pool, final_states, mean_over_all, mean_over_text, text_states
from sprog.lm.finite import finite
from sprog.lm.generate import continue_prompts
from sprog.lm.gradient import Gradients, gradients
from sprog.lm.hub import known_commit, look_up
from sprog.lm.load import fast_bfloat16, load, locate, resolve_device, resolve_dtype
from sprog.lm.loss import sentence_losses, worth_scoring
from sprog.lm.model import LanguageModel, NormRange
from sprog.lm.passes import Passes
from sprog.lm.passes import clear as clear_passes
from sprog.lm.plain import with_sites
from sprog.lm.positions import POSITIONS, Positions, check_positions, chosen
from sprog.lm.replay import Reader, Replay, replay
from sprog.lm.replayed import Replayed, SideEffects, replayed, replayed_losses
from sprog.lm.sampling import growing, half_width, narrow_enough, random_order
from sprog.lm.sinks import FoundSinks, find_sinks, with_sinks
from sprog.lm.sites import SITE_NAMES, Site
from sprog.lm.split import SPLIT
from sprog.lm.stored import StoredActivations, stored_activations
from sprog.lm.stream import Activations, activations, in_text_order

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
