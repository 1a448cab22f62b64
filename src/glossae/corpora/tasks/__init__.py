"""Labelled texts for downstream tasks: read from files and the hub, or built from a treebank."""

from glossae.corpora.tasks.naming import TaskSource, parse_task, split_tasks
from glossae.corpora.tasks.scala import (
    SCALA_SEED,
    corrupt,
    detokenise,
    eligible,
    scala_splits,
)
from glossae.corpora.tasks.task import Example, Row, Task, assemble_task
from glossae.corpora.tasks.treebank import Tagged, read_treebank

__all__ = [
    "SCALA_SEED",
    "Example",
    "Row",
    "Tagged",
    "Task",
    "TaskSource",
    "assemble_task",
    "corrupt",
    "detokenise",
    "eligible",
    "parse_task",
    "read_treebank",
    "scala_splits",
    "split_tasks",
]
