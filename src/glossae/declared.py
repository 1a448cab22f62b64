"""The sizes that files of tensors declare, checked against the file and the free memory before anything is loaded.

A file of a few kilobytes can declare a tensor of any size: by its header, by compression, or by strides of zero.
"""

import json
import os
import struct
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from glossae.errors import GlossaeError
from glossae.files import open_regular
from glossae.memory import check_free

# the format's own bound is 100 MB; a model of 100,000 tensors has a header of 15 MB
_MOST_HEADER = 2**27
# an autoencoder or a knob has at most a dozen tensors
_SMALL_HEADER = 2**24
_SAFETENSORS_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I8": 8, "U8": 8,
    "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
# the struct codes of GGUF's scalar types; 8 is a string, 9 an array
_GGUF_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_GGUF_STRING, _GGUF_ARRAY = 8, 9
# the reader makes objects of each element; a vocabulary of 262,144 tokens has 1.3 million with its merges and scores
_MOST_ELEMENTS = 2**22
_MOST_DIMENSIONS = 8


class Declared(NamedTuple):
    """A tensor as a header declares it: the type in the format's own word, and the shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """The number of values."""
        return prod(self.shape)


def safetensors_header(path: Path, most: int = _MOST_HEADER) -> dict[str, Declared]:
    """The tensors of a safetensors file by name, from its header, whose sizes agree with the file's.

    Raises:
        GlossaeError: it is no regular file, or no safetensors file; its header is larger than `most` bytes, or
            declares other sizes than the file has.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(most, size - len(start)):
            what = f"of {length:,} bytes" if length <= size else "longer than the file"
            raise _unfit(path, f"its header would be {what}")
        try:
            header = json.loads(file.read(length).decode())
            found = {
                name: Declared(str(said["dtype"]), tuple(said["shape"]))
                for name, said in header.items()
                if name != "__metadata__"
            }
            bits = [_SAFETENSORS_BITS[tensor.dtype] * _whole(tensor.shape) for tensor in found.values()]
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            raise _unfit(path, f"its header is none ({type(error).__name__})") from error
    held, declared = size - 8 - length, sum(-(-own // 8) for own in bits)
    if declared != held:
        raise _unfit(path, f"its header declares {declared:,} bytes of tensors, and it holds {held:,}")
    return found


def _whole(shape: tuple[Any, ...]) -> int:
    if not all(type(extent) is int and 0 <= extent < 2**63 for extent in shape):
        raise ValueError("an extent is no whole number")
    return prod(shape)


def _unfit(path: Path, why: str) -> GlossaeError:
    return GlossaeError(
        f"{path}: cannot be read as safetensors: {why}: it is cut short or is none; fetch or copy it again"
    )


def check_loadable(path: Path) -> None:
    """Check that copies in float32 of the few tensors of a safetensors file fit in memory; the file itself is mapped.

    Raises:
        GlossaeError: as `safetensors_header`, or they do not fit.
    """
    check_free(4 * sum(tensor.values for tensor in few_tensors(path).values()), str(path))


def few_tensors(path: Path) -> dict[str, Declared]:
    """As `safetensors_header`, of a file that holds as few tensors as an autoencoder or a knob."""
    return safetensors_header(path, _SMALL_HEADER)


def check_archive(path: Path) -> None:
    """Check that a zip archive of tensors (`.npz`, `.pt`) unpacks to no more than it may, fits in memory, and is whole.

    Weights hardly shrink: `torch.save` and `numpy.savez` do not compress, and deflate saves a tenth. `torch.load` does
    not look at the checksums.

    Raises:
        GlossaeError: it is no regular file, is encrypted or compressed in another way, would unpack to far more than
            its size, does not fit in memory, or a checksum is wrong.
        OSError: it cannot be read.
        zipfile.BadZipFile, and others of `zipfile`: it is no zip archive, or a broken one.
    """
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
                what = f"{member.filename[:60]!a} in it is encrypted, or compressed in an unknown way"
                raise GlossaeError(f"{path}: {what}: save it again")
        packed, unpacked = path.stat().st_size, sum(member.file_size for member in members)
        if is_bomb(packed, unpacked):
            raise GlossaeError(
                f"{path}: has {packed:,} bytes and would unpack to {unpacked:,}, as no file of weights does: save it "
                "again without compression"
            )
        check_free(packed + 2 * unpacked, str(path))
        if (damaged := archive.testzip()) is not None:
            raise GlossaeError(
                f"{path}: {damaged[:60]!a} in it is damaged (its checksum differs): fetch or copy it again"
            )


def is_bomb(packed: int, unpacked: int) -> bool:
    """Whether a zip archive, or a member, unpacks to more than text or weights do: 200 times, from 64 MB on.

    Text shrinks to a third, hardly to a tenth. A small archive may repeat one sentence, or hold zeros: it does no harm.
    """
    return unpacked > max(2**26, 200 * packed)


class Gguf(NamedTuple):
    """The header of a GGUF file: its single numbers and texts by key, and its tensors by name."""

    fields: dict[str, Any]
    tensors: dict[str, Declared]


def gguf_header(path: Path) -> Gguf:
    """The header of a GGUF file of version 2 or 3, whose sizes agree with the file's.

    Arrays (the tokenizer's) are passed over. Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

    Raises:
        GlossaeError: it is no regular file, or no GGUF file; it is cut short; its header declares more than the file
            holds, or more elements than a tokenizer has.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        try:
            return _gguf(file, os.fstat(file.fileno()).st_size)
        except ValueError as error:
            raise GlossaeError(f"{path}: cannot be read as a GGUF file ({error}): fetch it again") from error


def _gguf(file: BinaryIO, size: int) -> Gguf:
    from gguf.constants import GGML_QUANT_SIZES

    def number(code: str) -> Any:
        data = file.read(struct.calcsize(f"<{code}"))
        if len(data) < struct.calcsize(f"<{code}"):
            raise ValueError("it is cut short")
        return struct.unpack(f"<{code}", data)[0]

    def skip(count: int) -> None:
        if count > min(size, _MOST_HEADER) - file.tell():
            raise ValueError("it declares more than it holds")
        file.seek(count, os.SEEK_CUR)

    def text() -> str:
        length, place = number("Q"), file.tell()
        skip(length)
        file.seek(place)
        return file.read(length).decode("utf-8", "replace")

    def array() -> int:
        kind, count = number("I"), number("Q")
        if count > _MOST_ELEMENTS:
            raise ValueError(f"it declares an array of {count:,} elements")
        if kind in _GGUF_SCALARS:
            skip(count * struct.calcsize(_GGUF_SCALARS[kind]))
        elif kind == _GGUF_STRING:
            for _ in range(count):
                skip(number("Q"))
        else:
            raise ValueError(f"it has an array of the unknown type {kind}")
        return int(count)

    def repeated(count: int) -> Iterator[None]:
        # every entry has some bytes, so that a count beyond the file ends at once
        for _ in range(count):
            skip(0)
            yield

    if file.read(4) != b"GGUF":
        raise ValueError("it is none")
    if (version := number("I")) not in (2, 3):
        raise ValueError(f"its version is {version}, and 2 and 3 are known")
    tensors_count, fields_count = number("Q"), number("Q")
    fields: dict[str, Any] = {}
    elements = 0
    for _ in repeated(fields_count):
        key, kind = text(), number("I")
        if kind == _GGUF_ARRAY:
            elements += array()
            if elements > _MOST_ELEMENTS:
                raise ValueError(f"its arrays have more than {_MOST_ELEMENTS:,} elements")
        elif kind == _GGUF_STRING:
            fields[key] = text()
        elif kind in _GGUF_SCALARS:
            fields[key] = number(_GGUF_SCALARS[kind])
        else:
            raise ValueError(f"its {key[:60]!a} is of the unknown type {kind}")
    tensors: dict[str, Declared] = {}
    furthest = 0
    for _ in repeated(tensors_count):
        name, dimensions = text(), number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"the tensor {name[:60]!a} has {dimensions} dimensions")
        shape = tuple(number("Q") for _ in range(dimensions))
        kind, offset = number("I"), number("Q")
        if kind not in GGML_QUANT_SIZES:
            raise ValueError(f"the tensor {name[:60]!a} is of the unknown type {kind}")
        block, block_bytes = GGML_QUANT_SIZES[kind]
        tensors[name] = Declared(str(kind), shape)
        furthest = max(furthest, offset + -(-prod(shape) // block) * block_bytes)
    if furthest > size - file.tell():
        raise ValueError("its tensors are larger than it")
    return Gguf(fields, tensors)


def check_table(path: Path) -> None:
    """Check that a Parquet file fits in memory: a few bytes of it can stand for a column of any length.

    Raises:
        GlossaeError: it is no regular file, or does not fit.
        OSError, ValueError: it cannot be read.
    """
    from pyarrow import parquet

    with open_regular(path) as file:
        about = parquet.read_metadata(file)
    groups = [about.row_group(number).total_byte_size for number in range(about.num_row_groups)]
    check_free(max(sum(groups), 8 * about.num_rows * about.num_columns), str(path))
