"""What a run would fetch, hold and cost, by arithmetic: nothing is fetched, run or written."""

from sprog.plan.at_hand import folder_bytes, hub_cache
from sprog.plan.machine import memory_bytes
from sprog.plan.models import model_facts
from sprog.plan.page import dry_run
from sprog.plan.tested import too_few_words
from sprog.plan.wording import bytes_text, wrapped

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
