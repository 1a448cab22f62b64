"""What a run would fetch, hold and cost, by arithmetic: nothing is fetched, run or written."""

from glossae.plan.at_hand import folder_bytes, hub_cache
from glossae.plan.machine import memory_bytes
from glossae.plan.models import model_facts
from glossae.plan.page import dry_run
from glossae.plan.tested import too_few_words
from glossae.plan.wording import bytes_text, wrapped

__all__ = [
    "bytes_text",
    "dry_run",
    "folder_bytes",
    "hub_cache",
    "memory_bytes",
    "model_facts",
    "too_few_words",
    "wrapped",
]
