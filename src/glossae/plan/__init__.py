"""The dry run: downloads, memory and time of a run by arithmetic; nothing is fetched, run or written."""

from glossae.plan.facts import (
    Amounts,
    Shape,
    SourceFacts,
    folder_bytes,
    hub_cache,
    model_facts,
    stream_facts,
    task_facts,
)
from glossae.plan.machine import memory_bytes, this_machine
from glossae.plan.page import Plan, dry_run
from glossae.plan.quantities import (
    BLOCK_OPERATIONS,
    UNKNOWN,
    Quantities,
    Work,
    bytes_text,
    check_positions,
    count_text,
    sentences_of,
    share_of,
    tokens_of,
    too_few_message,
    wrap_text,
)

__all__ = [
    "BLOCK_OPERATIONS",
    "UNKNOWN",
    "Amounts",
    "Plan",
    "Quantities",
    "Shape",
    "SourceFacts",
    "Work",
    "bytes_text",
    "check_positions",
    "count_text",
    "dry_run",
    "folder_bytes",
    "hub_cache",
    "memory_bytes",
    "model_facts",
    "sentences_of",
    "share_of",
    "stream_facts",
    "task_facts",
    "this_machine",
    "tokens_of",
    "too_few_message",
    "wrap_text",
]
