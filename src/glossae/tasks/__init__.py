"""Downstream tasks: their rows, and what units change about them."""

from glossae.tasks.arms import arms_of, compiled_arms, kind_of
from glossae.tasks.comparing import by_bootstrap
from glossae.tasks.controlled import controlled
from glossae.tasks.erasing import erase_labels
from glossae.tasks.features import encode_texts, padded_states, pooled_states
from glossae.tasks.fine_tuned import Tuning, fine_tuned
from glossae.tasks.metrics import METRICS
from glossae.tasks.naming import TaskSource, parse_task, split_tasks
from glossae.tasks.rows import TaskScore, score_rows
from glossae.tasks.scala import corrupt, detokenise, eligible, scala_splits
from glossae.tasks.task import Example, Row, Task, assemble_task
from glossae.tasks.treebank import Tagged, read_treebank

__all__ = [
    "METRICS",
    "Example",
    "Row",
    "Tagged",
    "Task",
    "TaskScore",
    "TaskSource",
    "Tuning",
    "arms_of",
    "assemble_task",
    "by_bootstrap",
    "compiled_arms",
    "controlled",
    "corrupt",
    "detokenise",
    "eligible",
    "encode_texts",
    "erase_labels",
    "fine_tuned",
    "kind_of",
    "padded_states",
    "parse_task",
    "pooled_states",
    "read_treebank",
    "scala_splits",
    "score_rows",
    "split_tasks",
]
