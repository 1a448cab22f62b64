"""Count what a program does to the files below a folder, and let it be killed, or an operation fail, at the n-th.

Counted are the files that are made, what is written into them, flushes, renames, and what is deleted: in Python, and
in the library that writes files by itself (pandas). `Reads` counts reads from the network instead.
"""

import builtins
import errno
import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

NEEDS_ROOM = ("make", "write", "mkdir")
"""Operations that a full disk refuses."""


class Killed(BaseException):
    """The process is dead: what follows in it does nothing to any file."""


class Faults:
    """The operations below a folder, and the fault at one of them.

    Attributes:
        folder: where operations are counted.
        at: the number of the operation that the fault strikes, from 1; None for none.
        kind: `kill`: the process dies before the operation, or in the middle of a write, and nothing that it does
            afterwards (such as clearing up) reaches the disk; `exit`: the same by `os._exit`; `ENOSPC`: this write and
            all later ones are refused; `ENOENT`: this operation is refused, and what it was to delete is gone.
        seen: the operations so far, as (name, path relative to the folder).
    """

    def __init__(self, folder: Path, at: int | None = None, kind: str = "kill") -> None:
        self.folder, self.at, self.kind = folder, at, kind
        self.seen: list[tuple[str, str]] = []
        self.struck = False

    def _inside(self, path: Any, directory: int | None = None) -> Path | None:
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        if not isinstance(path, str | os.PathLike):
            return None
        place = Path(os.fspath(path))
        if directory is not None:
            place = Path(f"/proc/self/fd/{directory}").readlink() / place
        place = place.absolute()
        # the lock is the system's, which takes it from a dead process
        inside = place.is_relative_to(self.folder) and place.name != ".lock"
        return place if inside else None

    def step(self, name: str, place: Path) -> bool:
        """Count an operation; returns whether it is torn: carried out by half before the process dies."""
        if self.struck and self.kind == "kill":
            raise Killed
        if self.struck and self.kind == "ENOSPC" and name in NEEDS_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        self.seen.append((name, place.relative_to(self.folder).as_posix()))
        if len(self.seen) != self.at:
            return False
        self.struck = True
        if self.kind in ("kill", "exit"):
            if name == "write":
                return True
            self.die()
        raise OSError(getattr(errno, self.kind), os.strerror(getattr(errno, self.kind)), str(place))

    def die(self) -> None:
        """End the process, or what stands for it."""
        if self.kind == "exit":
            os._exit(137)
        raise Killed

    @contextmanager
    def at_work(self) -> Iterator["Faults"]:
        """Count, and strike, inside the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "fsync", "open"):
                patch.setattr(os, name, self._system(name, getattr(os, name)))
            opened = self._opened(io.open)
            patch.setattr(io, "open", opened)
            patch.setattr(builtins, "open", opened)
            for method in ("to_parquet", "to_csv"):
                patch.setattr(pd.DataFrame, method, self._library(getattr(pd.DataFrame, method), place=1))
            yield self

    def _system(self, name: str, original: Any) -> Any:
        def operation(path: Any, *more: Any, **named: Any) -> Any:
            counted = name != "open" or bool(more and more[0] & os.O_CREAT)
            if counted and (place := self._inside(path, named.get("dir_fd"))) is not None:
                try:
                    self.step("make" if name == "open" else name, place)
                except FileNotFoundError:
                    # somebody else was faster
                    if name in ("unlink", "remove", "rmdir"):
                        original(path, *more, **named)
                    raise
            return original(path, *more, **named)

        return operation

    def _opened(self, original: Any) -> Any:
        def opened(path: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            place = None
            if set(mode) & set("wax+") and not isinstance(path, int):
                place = self._inside(path)
            torn = place is not None and self.step("write", place)
            if not torn:
                return original(path, mode, *more, **named)
            file = original(path, mode, *more, **named)
            # half of what is appended is nothing, as its bytes are not known here
            if "a" not in mode:
                file.write("x" if "b" not in mode else b"x")
            file.close()
            return self.die()

        return opened

    def _library(self, original: Any, place: int) -> Any:
        def write(*arguments: Any, **named: Any) -> Any:
            # without a path `to_csv` gives a text
            path = self._inside(arguments[place]) if len(arguments) > place else None
            torn = path is not None and self.step("write", path)
            done = original(*arguments, **named)
            if torn:
                assert path is not None
                os.truncate(path, path.stat().st_size // 2)
                self.die()
            return done

        return write


class Reads:
    """The network reads of this process, and a connection that is reset at one of them.

    Attributes:
        ports: of the servers that are read from: what a server in this process reads from its clients does not count.
        at: the number of the read that is refused, from 1; None for none.
        lasting: whether all reads after it are refused too.
        seen: how many reads there were so far.
    """

    def __init__(self, ports: tuple[int, ...], at: int | None = None, lasting: bool = False) -> None:
        self.ports, self.at, self.lasting = ports, at, lasting
        self.seen = 0

    @contextmanager
    def at_work(self) -> Iterator["Reads"]:
        """Count, and strike, inside the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("recv", "recv_into"):
                patch.setattr(socket.socket, name, self._read(getattr(socket.socket, name)))
            yield self

    def _read(self, original: Any) -> Any:
        def read(connection: socket.socket, *more: Any) -> Any:
            if connection.family == socket.AF_INET and connection.getpeername()[1] in self.ports:
                self.seen += 1
                if self.at is not None and (self.seen == self.at or (self.lasting and self.seen > self.at)):
                    raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            return original(connection, *more)

        return read
