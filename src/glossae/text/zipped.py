"""Texts read straight out of a zip archive, which is never unpacked; and archives that are no good."""

import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import cast
from zipfile import ZipExtFile, ZipFile, ZipInfo

from glossae.errors import GlossaeError
from glossae.text.lines import lines_of, shown
from glossae.text.readers import Lines

# every sentence is held in memory, at several times its size on disk: more would not fit anyway
_MAX_BYTES = 2**32
# text shrinks to a third, hardly to a tenth; what shrinks to less than a 200th is made to fill a memory.
# A small one may be the same sentence over and over, and does no harm
_MAX_RATIO, _RATIO_FROM = 200, 2**26
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_AGAIN = "where it was kept, delete it to have it fetched again"


@contextmanager
def zip_texts(path: Path, name: str, endings: Sequence[str]) -> Iterator[list[Lines]]:
    """For each of `endings` the text in the archive `path` whose name ends so; to be read within the block.

    Args:
        path: the archive.
        name: what messages call it.
        endings: such as `.da-en.da`.

    Raises:
        GlossaeError: `path` is no zip archive, is damaged, or holds what a corpus does not: a path that leads out
            of it, a link, encryption, a bomb; or has not exactly one text for an ending. Damage inside a
            text shows only once that is read to its end.
    """
    try:
        with ZipFile(path) as archive, ExitStack() as members:
            for info in archive.infolist():
                _refuse_odd(name, info)
            chosen = [_only(name, archive, ending) for ending in endings]
            opened = [cast(ZipExtFile, members.enter_context(archive.open(info))) for info in chosen]
            yield [_lines(name, info, member) for info, member in zip(chosen, opened, strict=True)]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        # RuntimeError covers NotImplementedError: what this zip module has no name for
        raise GlossaeError(
            f"{name}: is no zip archive, or a damaged one ({str(error) or type(error).__name__}); {_AGAIN}"
        ) from error


def _refuse_odd(name: str, info: ZipInfo) -> None:
    inside = info.filename
    parts = PurePosixPath(inside.replace("\\", "/")).parts
    if ".." in parts or PurePosixPath(inside).is_absolute() or PureWindowsPath(inside).anchor:
        raise _odd(name, info, "which leads out of the archive")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _odd(name, info, "which is a link")


def _only(name: str, archive: ZipFile, ending: str) -> ZipInfo:
    found = [info for info in archive.infolist() if info.filename.endswith(ending)]
    if len(found) != 1:
        listed = ", ".join(shown(info.filename) for info in archive.infolist()[:8])
        raise GlossaeError(
            f"{name}: has {len(found)} texts that end in {ending}, and needs one (it holds {listed or 'nothing'}); "
            f"{_AGAIN}"
        )
    (info,) = found
    if info.flag_bits & _ENCRYPTED:
        raise _odd(name, info, "which is encrypted")
    if info.compress_type not in _METHODS:
        raise _odd(
            name, info, f"which is compressed by method {info.compress_type}, neither stored nor deflated"
        )
    if info.file_size > _MAX_BYTES:
        raise _odd(
            name, info, f"which has {info.file_size:,} bytes unpacked, and {_MAX_BYTES:,} are the most"
        )
    if info.file_size > max(_RATIO_FROM, _MAX_RATIO * info.compress_size):
        raise _odd(name, info, f"whose {info.compress_size:,} bytes unpack to {info.file_size:,}")
    return info


def _odd(name: str, info: ZipInfo, what: str) -> GlossaeError:
    return GlossaeError(
        f"{name}: holds {shown(info.filename, 100)}, {what}: that is no archive of text; {_AGAIN}"
    )


def _lines(name: str, info: ZipInfo, member: ZipExtFile) -> Lines:
    inside = f"{name}/{info.filename if info.filename.isprintable() else shown(info.filename, 100)}"

    def read() -> Iterator[tuple[str, str]]:
        # the zip module's own lines are slow
        stream = BufferedReader(cast(RawIOBase, member), 2**16)
        for line in lines_of(stream, inside):
            yield line, ""
        # it stops at the size that is written down, and checks the sum of what came
        if member.tell() != info.file_size:
            raise zipfile.BadZipFile(f"{shown(info.filename, 100)} is shorter than written down")

    return Lines(inside, read())
