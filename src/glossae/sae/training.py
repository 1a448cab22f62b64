"""Train SAEs on one stream of activations: the encoder's product, mixing of tokens, checkpoints."""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glossae import lm, ranks
from glossae.declared import safetensors_header
from glossae.errors import GlossaeError
from glossae.files import (
    TEMPORARY,
    check_place,
    file_sha256,
    fingerprint,
    make_folder,
    read_json,
    rename,
    tensors_sha256,
    write_json,
    write_tensors,
)
from glossae.memory import enough_memory, out_of_memory
from glossae.sae import shares
from glossae.sae.sae import Sae, SaeConfig
from glossae.sae.sparse import Entries, kernels_for, top_k_of_product
from glossae.sae.trainer import EncoderDtype, Trainer, TrainPoint, TrainSettings
from glossae.sae.whole import joined

Job = tuple[SaeConfig, TrainSettings]
"""An SAE to be trained."""
Trained = tuple[Sae, list[TrainPoint]]
"""An SAE and the log of its training."""

# columns for the biases if they are part of the product, which is fastest in steps of 32
ONES = 32
# tokens for checking weights before they are saved
CHECKED = 64
# the format of checkpoints, and the number that is kept
FORMAT, KEPT = 4, 2
# of a checkpoint of several ranks: its numbers and the hashes of its files
NUMBERS = "checkpoint.json"
_NAME = re.compile(r"step-\d{9,}(\.safetensors)?")


def train(
    config: SaeConfig,
    batches: Iterator[Float[Tensor, "_ d_in"]],
    settings: TrainSettings,
    progress: Callable[[float], None] = lambda _: None,
) -> Trained:
    """Train on batches of activations, one Adam step each, and fold the input scale into the weights.

    The pre-encoder bias starts at the first batch's mean, and decoder rows keep length 1, so that a latent's
    value is the length of its contribution. Training scales inputs to a mean length of sqrt(d_in); the
    returned SAE takes unscaled ones.

    Raises:
        GlossaeError: there are no activations, some are not finite, or the loss diverges.
    """
    mixer = Mixer(None, 0, torch.Generator())
    return train_group([(config, settings)], lambda _: batches, mixer, progress=progress)[0]


def train_group(
    jobs: Sequence[Job],
    stream: Callable[[int], Iterator[Float[Tensor, "_ d_in"]]],
    mixer: "Mixer",
    *,
    checkpoints: "Checkpoints | None" = None,
    folder: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Trained]:
    """Train SAEs of one width on the same batches in one pass over the stream, each bit for bit as `train` would alone.

    The first job decides the precision of the product and whether inputs are scaled.

    Args:
        jobs: the SAEs and their settings.
        stream: gives the chunks of activations from a given number on, the same in every call.
        mixer: makes batches of the chunks.
        checkpoints: saves and restores the training; the result is the same bit for bit.
        folder: for joint work, a folder that all ranks see, in which finished SAEs lie; None for the system's own.
        progress: called with the finished share.

    In joint work (`glossae.ranks`), every rank gives the same jobs, stream and mixer. Each holds
    `ceil(latents / ranks)` latents of every SAE in training, and the result is the one-process result apart from
    rounding. Every rank returns whole SAEs, which map files that are deleted when joint work ends.

    Raises:
        GlossaeError: there are no activations, some are not finite, memory is exhausted, or the loss diverges;
            earlier checkpoints are kept, and weights that diverge are not saved.
    """
    with enough_memory(_no_memory(jobs)):
        group = None if checkpoints is None else checkpoints.restore(jobs, mixer)
    total = max(1, jobs[0][1].tokens)
    for batch in mixer.batches(stream(mixer.taken)):
        group = group or Group.started(jobs, batch)
        group.step(batch)
        progress(min(1.0, group.trainers[0].tokens / total))
        if checkpoints is not None and checkpoints.due():
            group.check(batch)
            checkpoints.save(group, mixer)
    if group is None:
        raise GlossaeError("corpora.train: there is no text left to train an autoencoder on")
    # each finishes before any is written: one that has learnt nothing is refused
    finished = [trainer.finish() for trainer in group.trainers]
    return [
        (joined(share, trainer.config, folder), trainer.log)
        for share, trainer in zip(finished, group.trainers, strict=True)
    ]


class Group:
    """SAEs in training on the same batches."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = list(trainers)
        settings, device = self.trainers[0].settings, self.trainers[0].mean.device
        dtype = torch.float32 if settings.published else encoder_dtype(settings.encoder_dtype, device)
        self.product = EncoderProduct(dtype)

    @classmethod
    def started(cls, jobs: Sequence[Job], first: Float[Tensor, "tokens d_in"]) -> "Group":
        """A group before its first step."""
        _require_finite(first, 1)
        with enough_memory(_no_memory(jobs)):
            return cls([Trainer.started(config, settings, first) for config, settings in jobs])

    @torch.no_grad()
    def step(self, batch: Float[Tensor, "tokens d_in"]) -> None:
        """Take one optimiser step of every SAE."""
        first = self.trainers[0]
        _require_finite(batch, first.steps + 1)
        with enough_memory(
            f"sae: there is not enough memory for a step of {len(batch)} tokens; lower sae.batch_tokens (or "
            f"sae.batch_sentences), or {_fewer(self.trainers)}"
        ):
            x = batch.float() * first.scale
            variance = _variance(x - first.mean)
            for trainer in self.trainers:
                biased = trainer.config.pre_encoder_bias
                offset = trainer.sae.b_dec.detach() if biased else first.mean
                centred = x - offset
                pre = self.product(trainer.sae, centred, offset)
                trainer.step(x, pre, variance, centred if biased else None)

    @torch.no_grad()
    def check(self, batch: Float[Tensor, "tokens d_in"]) -> None:
        """Refuse weights that the last step has ruined, by the loss on a few tokens after the step."""
        first = self.trainers[0]
        x = batch[:CHECKED].float() * first.scale
        variance = _variance(x - first.mean)
        for trainer in self.trainers:
            trainer.check(x, variance)


def _require_finite(batch: Float[Tensor, "tokens d_in"], step: int) -> None:
    # a sum is finite only if every value is; it overflows so seldom that checking again then is cheap
    if not bool(torch.isfinite(batch.sum())) and not bool(torch.isfinite(batch).all()):
        raise GlossaeError(f"sae: the model's activations are not finite (step {step})")


def _variance(x: Float[Tensor, "tokens d_in"]) -> float:
    """The sum of squares around the mean, for values that are roughly centred."""
    flat, mean = x.flatten(), x.mean(0)
    squares = float(torch.dot(flat, flat))
    variance = squares - len(x) * float(torch.dot(mean, mean))
    # a smaller value is rounding
    return variance if variance > 1e-6 * squares else 0.0


def _no_memory(jobs: Sequence[Job]) -> str:
    """The error for weights, gradients and moments that do not fit into memory."""
    config = jobs[0][0]
    what = "an autoencoder" if len(jobs) == 1 else f"{len(jobs)} autoencoders"
    return (
        f"sae: there is not enough memory to train {what} of {config.latents} latents on a site of width "
        f"{config.d_in}; lower {_fewer(jobs)}"
    )


def _fewer(trained: Sequence[object]) -> str:
    """The settings that reduce the memory of a training; several SAEs at once are a grid."""
    if len(trained) == 1:
        return "sae.latents (or sae.expansion)"
    return "grid.latents (or grid.expansion), or give fewer grid.k or grid.l1"


def encoder_dtype(wanted: EncoderDtype, device: torch.device) -> torch.dtype:
    """The precision of the encoder's product."""
    low = lm.fast_bfloat16(device) if wanted == "auto" else wanted == "bfloat16"
    return torch.bfloat16 if low else torch.float32


class EncoderProduct:
    """Pre-activations of a batch, one SAE at a time, so that they do not depend on what is trained beside it.

    In bfloat16 the weights stay float32, and every product copies them. On a CPU a product overwrites the last one.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        # kept, for allocating memory at every step costs more than the arithmetic
        self._copy, self._pre = torch.empty(0, dtype=dtype), torch.empty(0, dtype=dtype)

    @torch.no_grad()
    def __call__(
        self, sae: Sae, centred: Float[Tensor, "tokens d_in"], offset: Float[Tensor, " d_in"]
    ) -> Float[Tensor, "tokens latents"] | Entries:
        """The SAE's pre-activations, or those that a kernel selects for top-k.

        `centred` is a batch less `offset`, which is `b_dec` where the SAE subtracts that itself: a low precision would
        otherwise be spent on the mean.
        """
        weight, bias = sae.W_enc.detach(), sae.b_enc.detach()
        if not sae.config.pre_encoder_bias:
            bias = torch.addmv(bias, weight, offset)
        latents, d_in = weight.shape
        if self.dtype == torch.float32:
            return torch.addmm(bias, centred, weight.T, out=self._room(len(centred), weight))
        # on a CPU the biases are one more column, for an input that is always 1: adding them to the product costs
        # almost as much as the product
        width = d_in + (ONES if weight.device.type == "cpu" else 0)
        if len(self._copy) < latents:
            self._copy = weight.new_zeros(latents, width, dtype=self.dtype)
        rows, inputs = self._copy[:latents], centred.new_zeros(len(centred), width, dtype=self.dtype)
        rows[:, :d_in].copy_(weight)
        inputs[:, :d_in].copy_(centred)
        if sae.config.activation == "topk" and kernels_for(centred) is not None:
            assert sae.config.k is not None
            entries = top_k_of_product(inputs[:, :d_in], rows[:, :d_in], bias, sae.config.k)
            if entries is not None:
                return entries
        if width == d_in:
            return torch.nn.functional.linear(inputs, rows, bias.to(self.dtype))
        rows[:, d_in], inputs[:, d_in] = bias, 1.0
        return torch.mm(inputs, rows.T, out=self._room(len(inputs), weight))

    def _room(self, tokens: int, weight: Float[Tensor, "latents d_in"]) -> Tensor | None:
        """Where the pre-activations go; None on a GPU, where torch keeps freed memory for whatever comes next."""
        if weight.device.type != "cpu":
            return None
        size = tokens * len(weight)
        if len(self._pre) < size:
            self._pre = torch.empty(size, dtype=self.dtype)
        return self._pre[:size].view(tokens, len(weight))


class Mixer:
    """Cuts a stream of activations into batches of `size` tokens, drawn from a pool of about `pool` tokens.

    When the pool is full, half of it is drawn at random and given out, and new tokens are written into the
    free places: nothing is copied twice. Every token comes out exactly once; the last batch may be smaller.
    Without a `size`, the stream's own chunks are the batches.

    `state` holds everything that decides what comes next, so a stream can be left at any batch and resumed
    with the chunks from number `taken` on.

    Attributes:
        taken: chunks taken from the stream so far.
    """

    def __init__(self, size: int | None, pool: int, generator: torch.Generator) -> None:
        self.size = size
        self.pool = 0 if size is None else max(pool, 2 * size)
        self.generator = generator
        self.taken = 0
        self._held: Float[Tensor, "pool d_in"] | None = None
        # places of the pool in the order of giving out, up to `_give`; later ones stay
        self._order = torch.zeros(0, dtype=torch.int64)
        self._cursor = self._give = 0
        # the part of the last chunk that did not fit into the pool
        self._rest: Float[Tensor, "_ d_in"] | None = None

    def batches(self, chunks: Iterator[Float[Tensor, "_ d_in"]]) -> Iterator[Float[Tensor, "_ d_in"]]:
        """Yield the batches; between two of them, `state` covers everything before the second."""
        if self.size is None:
            for chunk in chunks:
                self.taken += 1
                yield chunk
            return
        while self._cursor < self._give or self._refill(chunks, self.size):
            places = self._order[self._cursor : min(self._cursor + self.size, self._give)]
            self._cursor += len(places)
            assert self._held is not None
            yield self._held[places.to(self._held.device)]

    def _refill(self, chunks: Iterator[Float[Tensor, "_ d_in"]], size: int) -> bool:
        """Fill the free places and draw the next ones to give out; False if nothing is left."""
        staying = self._order[self._give :]
        # once there is an order, the pool has been full
        with self._enough_memory():
            free = self._order[: self._give] if len(self._order) else torch.arange(self.pool)
        filled = 0
        while filled < len(free):
            if self._rest is None:
                self._rest = next(chunks, None)
                if self._rest is None:
                    break
                self.taken += 1
            if self._held is None:
                with self._enough_memory():
                    self._held = self._rest.new_empty(self.pool, self._rest.shape[1])
            some = self._rest[: len(free) - filled]
            self._held[free[filled : filled + len(some)].to(self._held.device)] = some
            filled += len(some)
            self._rest = self._rest[len(some) :] if len(some) < len(self._rest) else None
        places = torch.cat([staying, free[:filled]])
        self._order = places[torch.randperm(len(places), generator=self.generator)]
        self._cursor = 0
        self._give = len(places) if filled < len(free) else len(places) // 2 // size * size
        return self._give > 0

    def _enough_memory(self) -> AbstractContextManager[None]:
        return enough_memory(
            f"sae: there is not enough memory to mix {self.pool} tokens; lower sae.batch_tokens"
        )

    def state(self) -> dict[str, Any]:
        """Tensors and numbers from which `restore` continues."""
        return {
            "taken": self.taken,
            "cursor": self._cursor,
            "give": self._give,
            "order": self._order,
            # a pool that was never full uses no place after its last
            "held": None if self._held is None else self._held[: int(self._order.max()) + 1],
            "rest": self._rest,
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.taken, self._cursor, self._give = state["taken"], state["cursor"], state["give"]
        self._order, self._held, self._rest = state["order"], state["held"], state["rest"]
        self.generator.set_state(state["generator"])


class Checkpoints:
    """The checkpoints of one training, in their own folder; a training resumes from one bit for bit.

    A checkpoint is one safetensors file: the tensors are the weights, the optimiser's moments and the mixer's
    pool; the numbers (step, place in the text, log) are JSON in its header. It is written to a temporary file
    and renamed, and the last two are kept, so that a complete one always exists.

    In joint work of several ranks it is a folder with a safetensors file of each rank, written and renamed likewise,
    and the numbers and the files' hashes in one of JSON. A training resumes from either on any number of ranks.

    Attributes:
        folder: the folder.
        identity: identifies this training: text, model, settings.
        seconds: time between two checkpoints; 0: after every step.
        device: the device of a restored training.
        tell: receives a line on why a checkpoint was not used, and on the step at which the training resumes.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        *,
        seconds: float,
        device: torch.device | str = "cpu",
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder, self.identity, self.seconds, self.tell = folder, identity, seconds, tell
        self.device = torch.device(device)
        self._last = time.monotonic()
        # found unusable by `restore`: not counted among the last two, and deleted after the next save
        self._refused: set[Path] = set()

    def due(self) -> bool:
        """Whether it is time for the next checkpoint, by rank 0's clock."""
        own = time.monotonic() - self._last >= self.seconds
        return ranks.total(int(own and ranks.rank() == 0)) > 0

    def save(self, group: Group, mixer: Mixer) -> None:
        """Write a checkpoint, and delete all but the last two of this training.

        Raises:
            GlossaeError: it cannot be written, or memory is exhausted; earlier ones remain.
        """
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Any] = {"format": FORMAT, "identity": self.identity, "trainers": []}
        for place, trainer in enumerate(group.trainers):
            its_tensors, its = trainer.state()
            tensors |= {f"trainer.{place}.{name}": tensor for name, tensor in its_tensors.items()}
            numbers["trainers"].append(its)
        mixing = mixer.state()
        tensors |= {f"mixer.{name}": value for name, value in mixing.items() if isinstance(value, Tensor)}
        numbers["mixer"] = {name: value for name, value in mixing.items() if isinstance(value, int)}
        path = (
            self.folder / f"step-{group.trainers[0].steps:09d}{'' if ranks.count() > 1 else '.safetensors'}"
        )
        memory = enough_memory(
            f"{path}: there is not enough memory to write a checkpoint; give --sae.checkpoint none, or lower "
            f"{_fewer(group.trainers)}"
        )
        with memory:
            said = json.dumps(numbers)
            if ranks.count() > 1:
                self._save_shares(path, tensors, said)
            else:
                write_tensors(path, tensors, {"glossae": said, "sha256": tensors_sha256(said, tensors)})
        self._refused.discard(path)
        if ranks.rank() == 0:
            own = [file for file in self._files() if file not in self._refused]
            for old in (*own[KEPT:], *self._refused):
                _delete(old)
        self._refused.clear()
        self._last = time.monotonic()

    def _save_shares(self, path: Path, tensors: dict[str, Tensor], said: str) -> None:
        """Write each rank's share into a folder, which gets its name when all are there."""
        temporary = ""
        try:
            if ranks.rank() == 0:
                check_place(path)
                make_folder(self.folder)
                temporary = tempfile.mkdtemp(dir=self.folder, prefix=f"{TEMPORARY}{path.name}.")
            place = Path(ranks.exchange(temporary)[0])
            shares.write(place, tensors)
            # of its own file, which torch names after the rank
            files = sorted(place.glob(f"shard-{ranks.rank() + 1:05d}-*.safetensors"))
            hashes = ranks.exchange({file.name: file_sha256(file) for file in files})
            if ranks.rank() == 0:
                every = {name: sha for each in hashes for name, sha in each.items()}
                write_json(
                    place / NUMBERS, {"said": said, "files": every, "sha256": fingerprint([said, every])}
                )
                place.chmod(0o755)
                _delete(path)
                rename(place, path)
        except OSError as error:
            raise GlossaeError(f"{path}: cannot be written ({error.strerror or error})") from error
        finally:
            if temporary:
                shutil.rmtree(temporary, ignore_errors=True)
        # nobody goes on before it has its name
        ranks.total(0)

    def restore(self, jobs: Sequence[Job], mixer: Mixer) -> Group | None:
        """Restore the training and the mixer from the last good checkpoint; None if there is none."""
        for path in map(Path, ranks.exchange([str(each) for each in self._files()])[0]):
            # rank 0 looks at it for all
            (numbers, *_) = ranks.exchange(self._look(path, len(jobs)) if ranks.rank() == 0 else None)
            if isinstance(numbers, str):
                self._tell(f"{path}: {numbers}, so it is not used")
                self._refused.add(path)
                continue
            tensors = shares.empty(path, "mixer.")
            shares.read(path, tensors)
            mixing = {name: tensors.get(f"mixer.{name}") for name in ("order", "held", "rest", "generator")}
            for name in ("held", "rest"):
                tensor = mixing[name]
                mixing[name] = None if tensor is None else tensor.to(self.device)
            mixer.restore(mixing | numbers["mixer"])
            trainers = []
            for place, (config, settings) in enumerate(jobs):

                def read(
                    own: dict[str, Tensor], prefix: str = f"trainer.{place}.", path: Path = path
                ) -> None:
                    shares.read(path, {f"{prefix}{name}": tensor for name, tensor in own.items()})

                trainers.append(
                    Trainer.restored(config, settings, read, numbers["trainers"][place], self.device)
                )
            done, steps = trainers[0].steps, trainers[0].settings.steps
            self._tell(f"{path}: carrying on at step {done:,} of {steps:,}")
            return Group(trainers)
        return None

    def _tell(self, line: str) -> None:
        if ranks.rank() == 0:
            self.tell(line)

    def clear(self) -> None:
        """Delete all checkpoints after the training."""
        for path in self._files():
            _delete(path)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        files = self.folder.glob("step-*")
        # only names that `save` gives: other files are not ours to delete
        return sorted((file for file in files if _NAME.fullmatch(file.name)), reverse=True)

    def _look(self, path: Path, jobs: int) -> dict[str, Any] | str:
        """The numbers of a checkpoint whose hashes are those of what it holds, or why it cannot be used."""
        from safetensors import SafetensorError, safe_open

        try:
            if path.is_dir():
                stated = read_json(path / NUMBERS)
                said, files = stated["said"], stated["files"]
                if fingerprint([said, files]) != stated["sha256"]:
                    return f"is broken (the hash of {NUMBERS} is not that of what it holds)"
                numbers: dict[str, Any] = json.loads(said)
                if refused := self._unfit(numbers, jobs):
                    return refused
                for name, sha in files.items():
                    if not (path / name).is_file():
                        return f"is cut short ({name} is missing)"
                    if file_sha256(path / name) != sha:
                        return f"is broken (the hash of {name} is not that of what it holds)"
                return numbers
            safetensors_header(path)
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                said = header.get("glossae", "{}")
                numbers = json.loads(said)
                if refused := self._unfit(numbers, jobs):
                    return refused
                if tensors_sha256(said, shares.StoredTensors(file)) != header.get("sha256"):
                    return "is broken (its hash is not that of what it holds)"
                return numbers
        except GlossaeError as error:
            return f"is broken or cut short ({str(error).removeprefix(f'{path}: ')})"
        except (
            OSError,
            SafetensorError,
            ValueError,
            KeyError,
            AttributeError,
            TypeError,
            RecursionError,
        ) as error:
            if out_of_memory(error):
                # an unreadable file may still be a good checkpoint
                raise
            return f"is broken or cut short ({str(error).splitlines()[0] if str(error) else type(error).__name__})"

    def _unfit(self, numbers: dict[str, Any], jobs: int) -> str | None:
        if numbers.get("format") != FORMAT:
            return "is not a checkpoint of this version of glossae"
        if numbers["identity"] != self.identity or len(numbers["trainers"]) != jobs:
            return "belongs to a training on other text or with other settings"
        return None


def _delete(path: Path) -> None:
    """Delete a checkpoint, a folder only under another name: half of one is never found under its own."""
    if path.is_dir():
        doomed = path.with_name(f"{TEMPORARY}{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        shutil.rmtree(path.rename(doomed))
    else:
        path.unlink(missing_ok=True)
