"""A corpus of hostile files: each is small, or has no end, and asks for memory, time or code that no honest file does.

As a script it reads them, in a process that may use 2 GB, and writes what comes of each.
"""

import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

MOST = 2**31
SECONDS = 60
HUGE = 10**9
# a tensor of 40 GB
WIDE = (100_000, 100_000)


class Shell:
    def __reduce__(self):
        return os.system, ("touch hostile",)


def header(length=None, **tensors):
    """The beginning of a safetensors file, with whatever length of its header."""
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def npy(declared, data, dtype="<f4"):
    """An array whose header declares a shape."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {declared}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def zipped(members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def packed(content):
    """A file of torch.save whose parts are compressed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return zipped({name: archive.read(name) for name in archive.namelist()}, zipfile.ZIP_DEFLATED)


def archives():
    """SAE files by what is wrong with them: (name, content)."""
    few = torch.zeros(1)
    zeros = np.zeros(2**25, dtype=np.float32).tobytes()
    objects = io.BytesIO()
    np.savez(objects, W_enc=np.array([Shell()], dtype=object))
    claims = bytearray(zipped({"W_enc.npy": npy((1, 1), bytes(4))}))
    # the sizes in the central directory and in the member's own header
    claims[claims.index(b"PK\x01\x02") + 24 :][:4] = b""
    for mark, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = claims.index(mark) + place
        claims[at : at + 4] = struct.pack("<I", 2**32 - 2)
    pickles = {
        "strides of zero": saved({"encoder.weight": few.expand(WIDE), "k": torch.tensor(4)}),
        "a sparse tensor": saved(
            {"encoder.weight": torch.sparse_coo_tensor(size=WIDE, check_invariants=False)}
        ),
        "a meta tensor": saved({"encoder.weight": torch.zeros(WIDE, device="meta")}),
        "compressed zeros": packed(saved({"encoder.weight": torch.zeros(2**25)})),
        "a command": saved({"encoder.weight": few, "more": Shell()}),
        "a bare pickle of a command": pickle.dumps(Shell()),
        "the format before 1.6": saved({"encoder.weight": few}, _use_new_zipfile_serialization=False),
        "many whole numbers": saved(
            {"W_enc": few, "b_dec": few, "group_sizes": torch.ones(10**7, dtype=torch.uint8)}
        ),
    }
    arrays = {
        "a shape of a terabyte": zipped({"W_enc.npy": npy((HUGE, 250), bytes(16))}),
        "a negative shape": zipped({"W_enc.npy": npy((-1, 4), bytes(16))}),
        "an item of a gigabyte": zipped({"W_enc.npy": npy((1,), bytes(16), "|V1000000000")}),
        "compressed zeros": zipped({"W_enc.npy": npy((2**25,), zeros)}, zipfile.ZIP_DEFLATED),
        "objects": objects.getvalue(),
        "a size of 4 GB in the directory": bytes(claims),
        "no array": zipped({"W_enc": b"x" * 100}),
        "a header of 60 kB": zipped({"W_enc.npy": npy("(" + "1," * 30_000 + ")", b"")}),
    }
    tensors = {
        "a header of 2**63 bytes": header(2**63) + bytes(100),
        "a header of 100 MB": header(10**8) + bytes(100),
        "a shape of exabytes": header(x={"dtype": "F32", "shape": [HUGE, HUGE], "data_offsets": [0, 4]})
        + bytes(4),
        "a negative shape": header(x={"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}) + bytes(4),
        "an extent of many digits": header(x={"dtype": "F32", "shape": [10**4000], "data_offsets": [0, 4]})
        + bytes(4),
        "an unknown type": header(x={"dtype": "F4096", "shape": [1], "data_offsets": [0, 4]}) + bytes(4),
        "offsets that overlap": header(
            x={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            y={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        )
        + bytes(8),
        "brackets": struct.pack("<Q", 10**6) + b"[" * 10**6,
    }
    for file, found in (("ae.pt", pickles), ("params.npz", arrays), ("params.safetensors", tensors)):
        yield from ((what, file, content) for what, content in found.items())


def gguf(tensors=(), fields=(), counts=None):
    """A GGUF file: fields as (key, type, bytes), tensors as (name, dimensions, type, offset)."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    tensors_count, fields_count = counts or (len(tensors), len(fields))
    found = b"GGUF" + struct.pack("<IQQ", 3, tensors_count, fields_count)
    for key, kind, value in fields:
        found += text(key) + struct.pack("<I", kind) + value
    for name, dimensions, kind, offset in tensors:
        found += (
            text(name) + struct.pack("<I", len(dimensions)) + struct.pack(f"<{len(dimensions)}Q", *dimensions)
        )
        found += struct.pack("<IQ", kind, offset)
    return found


ARCHITECTURE = ("general.architecture", 8, struct.pack("<Q", 5) + b"qwen2")
GGUFS = {
    "2**60 fields": gguf(counts=(0, 2**60)),
    "2**60 tensors": gguf(counts=(2**60, 0)),
    "a text of 2**63 bytes": gguf(fields=[("a", 8, struct.pack("<Q", 2**63))]),
    "an array of 2**60 texts": gguf(fields=[("a", 9, struct.pack("<IQ", 8, 2**60))]),
    "an array of 16 million bytes": gguf(fields=[("a", 9, struct.pack("<IQ", 0, 2**24) + bytes(2**24))]),
    "arrays of arrays": gguf(fields=[("a", 9, struct.pack("<IQ", 9, 5) * 50)]),
    "2**31 dimensions": gguf() + b"",
    "a tensor of exabytes": gguf([("a", (2**40, 2**20), 0, 0)]) + bytes(100),
    "a tensor beyond the end": gguf([("a", (4,), 0, 2**62)]) + bytes(100),
    "an unknown type of tensor": gguf([("a", (4,), 999, 0)]) + bytes(100),
    "10**9 blocks": gguf(
        [("a", (4,), 0, 0)], [ARCHITECTURE, ("qwen2.block_count", 4, struct.pack("<I", HUGE))]
    )
    + bytes(100),
}
GGUFS["2**31 dimensions"] = gguf(counts=(1, 0)) + struct.pack("<QI", 0, 2**31)

CONFIGS = {
    "10**9 layers": {"num_hidden_layers": HUGE},
    "10**9 labels": {"num_labels": HUGE},
    "10**6 layers": {"num_hidden_layers": 10**6},
    "a width of 10**9": {"hidden_size": HUGE},
    "10**9 tokens": {"vocab_size": HUGE},
    "an MLP of 10**9": {"intermediate_size": HUGE},
    "10**9 heads": {"num_attention_heads": HUGE},
    "a number of many digits": {"hidden_size": 10**4000},
    "layers in a nested configuration": {"text_config": {"num_hidden_layers": HUGE}},
    "positions whose mask is a matrix": {
        "model_type": "gpt_neo", "hidden_size": 32, "num_layers": 3, "num_heads": 4, "intermediate_size": 48,
        "attention_types": [[["global"], 3]], "max_position_embeddings": 10**6,
    },
}  # fmt: skip


def corpus(root, autoencoder, knob, model):
    """Write the corpus; yields (what, kind, place).

    Args:
        root: an empty folder.
        autoencoder: the folder of a good SAE, as glossae writes it.
        knob: the file of a good knob that holds rows of the encoder.
        model: the folder of a good model.
    """
    places = (root / str(number) for number in range(10_000))

    def copied(good):
        place = next(places)
        return shutil.copytree(good, place)

    def alone(name, content):
        place = next(places) / name
        place.parent.mkdir()
        place.write_bytes(content)
        return place

    for what, file, content in archives():
        yield f"{file} with {what}", "sae", alone(file, content)
    for what, content in GGUFS.items():
        yield f"GGUF with {what}", "model", alone("x.gguf", content)
    for what, changes in CONFIGS.items():
        place = copied(model)
        config = json.loads((place / "config.json").read_text())
        with_digits = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
        (place / "config.json").write_text(json.dumps(config | changes))
        sys.set_int_max_str_digits(with_digits)
        yield f"config.json with {what}", "model", place
    for key in ("latents", "d_in", "layer", "k"):
        place = copied(autoencoder)
        file = place / "sae.safetensors"
        with safe_open(file, "pt") as opened:
            config = json.loads(opened.metadata()["glossae"]) | {key: 10**30 if key == "layer" else HUGE}
        save_file(load_file(file), file, metadata={"glossae": json.dumps(config)})
        yield f"SAE with {key} of 10**9", "sae", place
    yield from _knobs(knob, alone)
    for what, text in (
        ("a scalar of 20 MB", "model: " + "x" * 20_000_000),
        ("brackets", "model: " + "[" * 100_000),
        ("aliases of aliases", _laughs()),
        ("a number of many digits", "seed: " + "9" * 100_000),
    ):
        yield f"recipe with {what}", "recipe", alone("mine.yaml", text.encode())
    for what, make in (("a pipe", os.mkfifo), ("a device", lambda path: path.symlink_to("/dev/zero"))):
        for kind, good, file in (
            ("sae", autoencoder, "sae.safetensors"),
            ("model", model, "config.json"),
            ("model", model, "tokenizer_config.json"),
            ("model", model, "model.safetensors"),
        ):
            place = copied(good)
            (place / file).unlink()
            make(place / file)
            yield f"{file} that is {what}", kind, place
        for kind, file in (("knob", "x.safetensors"), ("recipe", "mine.yaml"), ("results", "results.json")):
            place = next(places) / file
            place.parent.mkdir()
            make(place)
            yield f"{kind} that is {what}", kind, place
    for what, file, kind in (("SAE", "sae.safetensors", "sae"), ("model", "model.safetensors", "model")):
        place = copied(autoencoder if kind == "sae" else model)
        about = {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}
        begun = header(W_enc=about)
        with (place / file).open("wb") as sparse:
            sparse.write(begun)
            sparse.truncate(len(begun) + 2**40)
        yield f"{what} of a terabyte of nothing", kind, place
    yield "results of brackets", "results", alone("results.json", b"[" * 10**6)


def _knobs(knob, alone):
    content = knob.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    said = json.loads(content[8 : 8 + length])
    of_units = json.loads(said["__metadata__"]["glossae_knob"])
    for what, change in (
        ("10**9 latents", {"config": of_units["config"] | {"latents": HUGE}}),
        ("a width of 10**9", {"config": of_units["config"] | {"d_in": HUGE, "latents": HUGE}}),
        (
            "all latents of so many",
            {"reads": "latents of all", "config": of_units["config"] | {"latents": HUGE}},
        ),
    ):
        path = alone("knob.safetensors", b"")
        save_file(load_file(knob), path, metadata={"glossae_knob": json.dumps(of_units | change)})
        yield f"knob with {what}", "knob", path
    for what, file, broken in archives():
        if file.endswith(".safetensors"):
            yield f"knob with {what}", "knob", alone("knob.safetensors", broken)


def _laughs():
    levels = ["&l0 [a, a]"] + [f"&l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 40)]
    return f"base: demo\nmodel: [{', '.join(levels)}]\n"


def read(kind, place):
    """Read a file through the door that a user has."""
    if kind == "sae":
        from glossae.sae import Sae

        return Sae.load(place)
    if kind == "knob":
        from glossae.effects import Knob

        return Knob.load(place)
    if kind == "model":
        from glossae.lm import load

        return load(str(place))
    if kind == "recipe":
        from glossae.recipe import load_recipe

        return load_recipe(place)
    from glossae.results import Results, read_results

    return read_results(Results, Path(place), again="")


def serve():
    """Read the files that standard input names, each a line `[what, kind, place]`, and write what comes of it."""
    from glossae.errors import GlossaeError

    resource.setrlimit(resource.RLIMIT_DATA, (MOST, MOST))

    def late(*_):
        raise TimeoutError(f"longer than {SECONDS} seconds")

    signal.signal(signal.SIGALRM, late)
    for line in sys.stdin:
        what, kind, place = json.loads(line)
        signal.alarm(SECONDS)
        try:
            read(kind, place)
            answer = "read", ""
        except GlossaeError as error:
            answer = "refused", str(error)
        except BaseException as error:
            answer = "crashed", f"{type(error).__name__}: {error}"
        signal.alarm(0)
        print(json.dumps([what, *answer]), flush=True)


if __name__ == "__main__":
    serve()
