"""Labelled texts for downstream tasks: read from files and the hub, or built from a treebank."""

from sprog.corpora.tasks.naming import TaskSource, parse_task, split_tasks
from sprog.corpora.tasks.scala import (
    SCALA_SEED,
    corrupt,
    detokenise,
    eligible,
    scala_splits,
)
from sprog.corpora.tasks.task import Example, Row, Task, assemble_task
from sprog.corpora.tasks.treebank import Tagged, read_treebank

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
