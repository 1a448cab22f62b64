"""Atomic and durable file writes, the temporary names they use, hashes, and reads of at most so many bytes."""

import errno
import hashlib
import itertools
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from os import PathLike
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from glossae.errors import GlossaeError, expect

if TYPE_CHECKING:
    from torch import Tensor

TEMPORARY = ".glossae-tmp-"
"""Every temporary file or folder of ours begins with this, and nobody else's does: what matches may be deleted."""


def path_named(name: str) -> Path:
    """The path that a person named, with `~` expanded; nothing need be there.

    Raises:
        GlossaeError: the name is longer than the file system takes.
    """
    path = Path(name)
    # `~name` without such a user: a file may really be called that
    with suppress(RuntimeError):
        path = path.expanduser()
    try:
        path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise GlossaeError(f"{name[:40]!a}...: is longer than the name of a file can be") from error
    return path


def path_given(path: Any, key: str = "path") -> Path:
    """The path that a caller from Python gave; nothing need be there.

    Raises:
        GlossaeError: it is no path, or empty; the line begins with `key`.
    """
    expect(path, str | PathLike, f"{key}: expected a path")
    if not str(path) or "\0" in str(path):
        raise GlossaeError(f"{key}: expected a path, got {str(path)!r}")
    return Path(path)


def nearest_there(path: Path) -> Path:
    """The path itself if something is there, else the nearest path above it where something is."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def shared_name(name: str) -> str:
    """The name of a model, autoencoder or file as others may read it: of a path only its last part.

    Names on the hub (`OWNER/NAME`, `hub:...`) and names of one word do not change.
    """
    if name.startswith("hub:"):
        return name
    own = name.startswith((".", "/", "~")) or name.count("/") > 1 or path_named(name).exists()
    return PurePath(name).name or name if own else name


ALIGNED = 64
"""Bytes, of which the address of every tensor that torch allocates on a CPU is a multiple."""
# bytes of a tensor that are written or hashed at once
_BLOCK = 2**26
# the names of types in safetensors files
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
MOST_TEXT = 2**26
"""Bytes of the largest text file that is read whole: configurations and results are far smaller."""


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading bytes; of a device or a pipe, reading would not end.

    Raises:
        GlossaeError: it is no regular file.
        OSError: it cannot be opened.
    """
    # opening a pipe would wait for its writer; Windows has no such flag, and no such pipes in folders
    flag = getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | flag)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise GlossaeError(f"{path}: is not a regular file: give a copy of what it holds")
        yield file


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """The bytes of a regular file.

    Raises:
        GlossaeError: it is no regular file, or has more than `most` bytes.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        # the size in the folder may be wrong, as in /proc
        data = file.read(most + 1)
    if len(data) > most:
        raise GlossaeError(f"{path}: has more than {most:,} bytes, which is no file of its kind")
    return data


def read_json(path: Path, most: int = MOST_TEXT) -> Any:
    """The value in a JSON file.

    Raises:
        GlossaeError: it is no regular file, or has more than `most` bytes.
        OSError: it cannot be read.
        ValueError: it is not UTF-8 or not JSON, or is nested too deeply.
    """
    text = read_bytes(path, most).decode("utf-8")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


# folders that this process writes a run into, each with an open descriptor: its inode is not given away meanwhile
_guarded: dict[Path, int] = {}


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Refuse, inside the block, writes below a folder that was removed, renamed or replaced since the block began.

    Writes below a symbolic link in the folder are refused, too. The folder itself may be a link.
    """
    place = folder.absolute()
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    _guarded[place] = descriptor
    try:
        yield
    finally:
        del _guarded[place]
        os.close(descriptor)


def check_place(path: Path) -> None:
    """Check that a file below a `guarded` folder may be written.

    Raises:
        GlossaeError: the folder is another one by now, or a folder on the way to the file is a symbolic link.
    """
    path = path.absolute()
    for folder, descriptor in _guarded.items():
        if not path.is_relative_to(folder):
            continue
        began, now = os.fstat(descriptor), None
        with suppress(OSError):
            now = folder.stat()
        if now is None or (now.st_dev, now.st_ino) != (began.st_dev, began.st_ino):
            raise GlossaeError(
                f"{folder}: was removed, renamed or replaced while this run was writing to it: put it back, and run "
                "the same command again"
            )
        for above in path.parents[: len(path.relative_to(folder).parts) - 1]:
            if above.is_symlink():
                raise _link_error(above)


# folders that another process writes a run into, each with a folder below it that this process writes into as well
_elsewhere: dict[Path, Path] = {}


@contextmanager
def written_elsewhere(folder: Path, *, but: Path) -> Iterator[None]:
    """Drop, inside the block, writes and deletions below a folder that another process writes; not those in `but`."""
    place = folder.absolute()
    _elsewhere[place] = but.absolute()
    try:
        yield
    finally:
        del _elsewhere[place]


def writes_here(path: Path) -> bool:
    """Whether this process writes a file, and no other does: see `written_elsewhere`."""
    path = path.absolute()
    return not any(
        path.is_relative_to(folder) and not path.is_relative_to(but) for folder, but in _elsewhere.items()
    )


def delete(path: Path) -> None:
    """Delete a file, if it is there and this process writes it."""
    if writes_here(path):
        path.unlink(missing_ok=True)


# of each `noting` block that is at work
_noted: list[set[Path]] = []


@contextmanager
def noting() -> Iterator[set[Path]]:
    """Yield the set of the files that `replacing` writes, and `note` names, inside the block."""
    own: set[Path] = set()
    _noted.append(own)
    try:
        yield own
    finally:
        _noted.pop()


def note(path: Path) -> None:
    """Count a file that is there as one that was written."""
    for own in _noted:
        own.add(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` if the block succeeds.

    The folder of `path` is made if need be. After an exception the temporary file is gone and `path`
    is as it was. After the block the new file is on the disk: the file is flushed before the rename and its
    folder after it, so that after a power cut `path` is the old file or the new one.

    A file that another process writes (`written_elsewhere`) is dropped after the block.

    Raises:
        GlossaeError: the file cannot be written (no permission, no space, or as `check_place`).
    """
    if not writes_here(path):
        with tempfile.TemporaryDirectory(prefix=TEMPORARY) as dropped:
            yield Path(dropped) / path.name
        return
    temporary = None
    try:
        check_place(path)
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f"{TEMPORARY}{path.name}.", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files that only their owner reads; results are for everybody the umask allows
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        check_place(path)
        rename(temporary, path)
        temporary = None
        note(path)
    except OSError as error:
        raise GlossaeError(f"{path}: cannot be written ({error.strerror or error})") from error
    except Exception as error:
        # what safetensors raises where the disk is full is no OSError
        if type(error).__name__ == "SafetensorError":
            raise GlossaeError(f"{path}: cannot be written ({error})") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def rename(file: Path, path: Path) -> None:
    """Rename a whole file onto `path`, beside it; the file is flushed to the disk before, and its name after."""
    _flush(file)
    file.replace(path)
    _flush_names(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush the folders that the new ones are listed in."""
    new = list(itertools.takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    if new:
        folder.mkdir(parents=True, exist_ok=True)
    for each in new:
        _flush_names(each.parent)


def _flush_names(folder: Path) -> None:
    """Have the system write the names in a folder to the disk, where the file system and its rights allow that."""
    try:
        _flush(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM):
            raise


def _flush(path: Path) -> None:
    """Have the system write a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Check that nothing of these names in `folder`, nor anything below them, is a symbolic link.

    What is written or deleted behind a link would be somebody else's. `folder` itself may be a link.

    Raises:
        GlossaeError: one is; the line names it.
    """
    for name in names:
        path = folder / name
        inside = (
            Path(above) / entry for above, *entries in os.walk(path) for entry in itertools.chain(*entries)
        )
        for link in (path, *sorted(inside)):
            if link.is_symlink():
                raise _link_error(link)


def _link_error(link: Path) -> GlossaeError:
    return GlossaeError(
        f"{link}: is a symbolic link, and a run writes and deletes in its own folder only: replace it by what it "
        "points to"
    )


def clear_temporaries(folder: Path, *, below: bool) -> None:
    """Delete the temporary files and folders that killed processes left in `folder`; links are left alone.

    Args:
        folder: where to look; it need not exist.
        below: look in the folders below it, too.
    """
    for above, folders, files in os.walk(folder):
        for path in (Path(above) / name for name in (*folders, *files) if name.startswith(TEMPORARY)):
            if path.is_symlink():
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        folders[:] = [name for name in folders if below and not name.startswith(TEMPORARY)]


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as JSON, atomically; NaN and infinities are a programming error."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_tensors(
    path: Path, tensors: Mapping[str, "Tensor"], header: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name as a safetensors file, atomically, with texts by name in its header.

    Nothing is written where another process writes (`written_elsewhere`).

    Raises:
        GlossaeError: the file cannot be written.
    """
    # an SAE may be as large as the folder for temporary files
    if writes_here(path):
        with replacing(path) as temporary:
            save_tensors(temporary, tensors, header)


def save_tensors(
    path: Path, tensors: Mapping[str, "Tensor"], header: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a path inside `replacing`; as `write_tensors` otherwise.

    Tensors are written from where they lie, block by block. The first begins at a multiple of `ALIGNED` bytes: a
    mapped tensor then lies as one that torch allocates, and products with it have the same bits.

    Raises:
        OSError: the file cannot be written.
    """
    # the larger types first, so that every value lies at a multiple of its size
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    said: dict[str, Any] = {} if header is None else {"__metadata__": dict(header)}
    end = 0
    for name in order:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        dtype = _DTYPES[str(tensor.dtype).removeprefix("torch.")]
        said[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
    # blanks are part of the format
    text += b" " * (-(8 + len(text)) % ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            for block in tensor_bytes(tensors[name]):
                file.write(block)


def tensor_bytes(tensor: "Tensor") -> "Iterator[memoryview]":
    """Yield a tensor's bytes in blocks, in the order of its values; only blocks that lie elsewhere are copied."""
    import torch

    own = tensor.detach() if tensor.ndim else tensor.detach().reshape(1)
    rows = max(1, _BLOCK // max(1, own[:1].numel() * own.element_size()))
    for block in own.split(rows):
        # as bytes: numpy has no bfloat16
        yield block.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def tensors_sha256(text: str, tensors: Mapping[str, "Tensor"]) -> str:
    """The SHA-256 of a text and of tensors with their names, types and shapes, in hex; their order does not matter."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        for block in tensor_bytes(tensor):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """A short hash of a JSON-like value: equal values, equal hash, whatever the order of keys."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a regular file's bytes, in hex; of a device or a pipe, reading would not end.

    Raises:
        GlossaeError: it is no regular file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
