"""What a person sees while a run works: a bar per stage with the time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Report = Callable[[float], None]


class Show:
    """Bars on standard error, so that standard output stays clean; nothing when quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[Report]:
        """A bar for one stage; the block reports fractions of it."""
        if self.quiet:
            yield lambda _: None
            return
        if not self.console.is_terminal:
            # a log file wants a line, not a moving bar
            self.console.print(f"{name}: {what}")
            yield lambda _: None
            return
        columns = (
            TextColumn("[bold]{task.description:<9}[/]"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[what]}", markup=False),
        )
        with Progress(*columns, console=self.console) as bars:
            task = bars.add_task(name, total=1.0, what=what)
            yield lambda fraction: bars.update(task, completed=fraction)
            bars.update(task, completed=1.0)

    def skipped(self, name: str) -> None:
        """Say that a stage stands as it is."""
        if not self.quiet:
            self.console.print(f"{name}: done before, kept", markup=False)

    def note(self, line: str) -> None:
        """Say one thing that a person should know; also when quiet, for it is no progress."""
        self.console.print(line, markup=False, soft_wrap=True)


def part(report: Report, start: float, end: float) -> Report:
    """Progress of a part of a stage: 0 to 1 becomes `start` to `end`."""
    return lambda fraction: report(start + (end - start) * fraction)
