"""The processes that torchrun starts: which one this is, collectives with a time limit, and how a run of several ends.

Rank 0 does a run, and calls the other ranks to joint work: the stages. `rank()` and `count()` are 0 and 1 outside of
joint work, and every collective then returns what it was given: one process pays for a comparison, and imports nothing
of torch.distributed.

Every collective has a time limit. A rank that fails says why in the store of the rendezvous and closes its connections,
which ends the collectives that others wait in; rank 0 then raises that line. In joint work all ranks carry out the same
code, and `meet` compares what they are at: ranks that have taken different branches end with one line.
"""

import gc
import itertools
import json
import os
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from glossae.errors import INTERRUPTED, GlossaeError, bug, one_line
from glossae.memory import out_of_memory

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

LIMIT = timedelta(minutes=10)
"""The longest that a collective may take, in which a rank may have to wait for one that loads or writes."""
REACH = timedelta(minutes=2)
"""The longest that a rank waits for the others to be there."""
# seconds between two looks into the store; those that a rank gives rank 0 to say a line, and rank 0 the others to leave
POLL, LAST_WORDS, LEAVING = 0.1, 20.0, 3.0
# the longest that a rank may work by itself
WORK = timedelta(days=30)
# bytes of the words in which a rank says what it is at
SAID = 120

Item = TypeVar("Item")
Json = TypeVar("Json")


@dataclass
class _World:
    """The processes of this run.

    `joint`: in joint work; `called`: pieces of it so far; `agreed`, `met`: comparisons so far; `waiting`: the group
    that waits for work of its ranks; `lost`: why ranks no longer work together; `told`: of what went wrong; `ending`:
    what this rank does at the end of joint work.
    """

    rank: int
    count: int
    store: Any
    limit: timedelta
    joint: bool = False
    called: int = 0
    agreed: int = 0
    met: int = 0
    waiting: Any = None
    lost: str | None = None
    told: bool = False
    ending: list[Callable[[], object]] = field(default_factory=list)


_world: _World | None = None


def world() -> tuple[int, int]:
    """This process's rank among those that joined, and their number: (0, 1) without others."""
    return (0, 1) if _world is None else (_world.rank, _world.count)


def said() -> tuple[int, int]:
    """This process's rank, and the number of ranks, as its environment says, whether others are there or not.

    Raises:
        GlossaeError: the environment says no number.
    """
    rank, count = _number("RANK", otherwise="0"), _number("WORLD_SIZE", otherwise="1")
    if not count:
        raise GlossaeError("WORLD_SIZE: is '0', and has to be at least 1")
    return rank, count


def _number(name: str, *, otherwise: str = "", hint: str = "") -> int:
    """A number of the environment, or what it is otherwise.

    Raises:
        GlossaeError: it is no number; the line ends with the hint.
    """
    said = os.environ.get(name) or otherwise
    if not said.isdecimal():
        raise GlossaeError(f"{name}: is '{said}', and has to be a number{hint}")
    return int(said)


def rank() -> int:
    """This process's rank in joint work; 0 outside of it."""
    return _world.rank if _world is not None and _world.joint else 0


def count() -> int:
    """The number of processes in joint work; 1 outside of it."""
    return _world.count if _world is not None and _world.joint else 1


def silent() -> bool:
    """Whether another rank prints what became of the run."""
    return _world is not None and (_world.told if _world.rank else False)


@contextmanager
def joined(*, limit: timedelta = LIMIT, reach: timedelta = REACH) -> Iterator[None]:
    """Join the processes that torchrun started, if it started this one; after the block, `leave`.

    Tensors go through gloo on a CPU, and through NCCL on GPUs if each rank of this machine has its own.

    Args:
        limit: the longest that a collective may take.
        reach: the longest that a rank waits for the others to be there.

    Raises:
        GlossaeError: the environment is incomplete, the rendezvous or a rank cannot be reached, or, at rank 0, another
            rank has failed.
    """
    global _world
    if os.environ.get("WORLD_SIZE", "1") in ("", "1"):
        yield
        return
    _world = _join(limit, reach)
    try:
        yield
    except GlossaeError as error:
        _fail(_world, str(error))
        raise
    except BaseException as error:
        if not _world.rank:
            _fail(_world, "rank 0 has ended")
            raise
        why = "there is not enough memory; the same command carries on where it stopped"
        if isinstance(error, KeyboardInterrupt):
            why = INTERRUPTED
        elif not out_of_memory(error):
            why = bug(error)
        # a signal may come inside a collective, whose frame would keep the connections open
        traceback.clear_frames(error.__traceback__)
        said = f"rank {_world.rank}: {why}"
        _fail(_world, said)
        raise GlossaeError(said) from error
    finally:
        _world.joint = False


def _join(limit: timedelta, reach: timedelta) -> _World:
    # a lost connection is one line of ours; torch would log the addresses of its own functions as well
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    import torch

    # its functions keep the group that is there when it is first imported, whose connections would never close
    import torch.distributed.nn.functional
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    hint = ": start the processes with torchrun"
    numbers = {name: _number(name, hint=hint) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT")}
    if numbers["RANK"] >= numbers["WORLD_SIZE"]:
        raise GlossaeError(f"RANK: is {numbers['RANK']}, and there are {numbers['WORLD_SIZE']} ranks")
    place = f"{os.environ.get('MASTER_ADDR', '')}:{numbers['MASTER_PORT']}"
    own_gpu = torch.cuda.is_available() and distributed.is_nccl_available()
    own_gpu = own_gpu and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= torch.cuda.device_count()
    try:
        store, rank, count = next(rendezvous("env://", timeout=reach))
        # torchrun may keep its store when it starts the processes again, with what those before them wrote
        started = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.distributed_c10d.PrefixStore(f"glossae/{started}", store)
        found = _World(rank, count, store, limit)
        if own_gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if own_gpu else "gloo",
            store=store,
            rank=rank,
            world_size=count,
            timeout=limit,
        )
        # a wait that ends with the last rank's own work, or with a lost connection
        found.waiting = distributed.new_group(backend="gloo", timeout=WORK)
    except (RuntimeError, ValueError, OSError) as error:
        raise GlossaeError(
            f"MASTER_ADDR: rank {numbers['RANK']} of {numbers['WORLD_SIZE']} found no rendezvous with the others at "
            f"{place} within {reach.total_seconds():g} s ({_cause(error)})"
        ) from error
    return found


def _cause(error: BaseException) -> str:
    """The first sentence of an error of torch, without the place in its source."""
    first = (str(error) or type(error).__name__).splitlines()[0]
    return one_line(re.sub(r"^\[[^\]]*\]\s*", "", first).partition(". ")[0])


def _fail(own: _World, said: str) -> None:
    """Tell the other ranks why this one fails, end their collectives, and let rank 0 say it."""
    from torch import distributed

    with suppress(RuntimeError):
        own.store.compare_set("failed", "", said)
    with suppress(RuntimeError, ValueError, AssertionError):
        distributed.destroy_process_group()
    # connections close with the last reference to the group, and some are in cycles
    own.waiting = None
    gc.collect()
    if own.rank:
        own.told = _wait(own, "over", LAST_WORDS)


def leave() -> None:
    """Part from the other ranks, after the last line is printed: rank 0 lets them go."""
    global _world
    if _world is None:
        return
    from torch import distributed

    own, _world = _world, None
    with suppress(RuntimeError):
        if own.rank:
            own.store.add("left", 1)
        else:
            own.store.set("over", "1")
            end = time.monotonic() + LEAVING
            while own.store.add("left", 0) < own.count - 1 and time.monotonic() < end:
                time.sleep(POLL)
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _wait(own: _World, key: str, seconds: float) -> bool:
    """Whether a key comes into the store in time; False as well where the store is gone."""
    end = time.monotonic() + seconds
    with suppress(RuntimeError):
        while not own.store.check([key]):
            if time.monotonic() > end:
                return False
            time.sleep(POLL)
        return True
    return False


def _failed(own: _World) -> str | None:
    """The line of the rank that failed first, if one did."""
    return str(own.store.get("failed").decode()) if _there(own, "failed") else None


def _there(own: _World, key: str) -> bool:
    """Whether a key is in the store.

    Raises:
        GlossaeError: the store is gone.
    """
    try:
        return bool(own.store.check([key]))
    except RuntimeError as error:
        raise GlossaeError("the rendezvous is gone: rank 0, or torchrun, has ended") from error


def agree(what: str, fingerprint: str) -> None:
    """Check that every rank has the same fingerprint of `what`.

    Raises:
        GlossaeError: a rank has another one, has failed, or did not come in time.
    """
    own = _world
    if own is None:
        return
    own.agreed += 1
    key, found = f"agree/{own.agreed}", dict[int, str]()
    own.store.set(f"{key}/{own.rank}", fingerprint)
    end = time.monotonic() + own.limit.total_seconds()
    for other in range(own.count):
        while not _there(own, f"{key}/{other}"):
            if failed := _failed(own):
                raise GlossaeError(failed)
            if time.monotonic() > end:
                raise GlossaeError(
                    f"rank {other}: did not come within {own.limit.total_seconds():g} s to compare its {what}"
                )
            time.sleep(POLL)
        found[other] = own.store.get(f"{key}/{other}").decode()
    others = [str(other) for other, said in found.items() if said != found[0]]
    if others:
        raise GlossaeError(
            f"rank {', '.join(others)}: has another {what} than rank 0; start every rank with the same command, "
            "version and files"
        )


# ---- joint work


@contextmanager
def together() -> Iterator[None]:
    """Joint work, which every rank begins by itself; ends when all have ended it.

    Raises:
        GlossaeError: a rank is lost, also where the block has caught the error that said so.
    """
    if _world is not None:
        _world.joint = True
    try:
        yield
        meet("the end of joint work")
    finally:
        if _world is not None:
            _world.joint = False
            while _world.ending:
                _world.ending.pop()()


def at_the_end(work: Callable[[], object]) -> None:
    """Do this at this rank when joint work ends, also where it fails."""
    assert _world is not None
    _world.ending.append(work)


@contextmanager
def alone() -> Iterator[None]:
    """Work inside joint work that this rank does by itself: `count()` is 1, and nothing is divided or exchanged."""
    before = _world is not None and _world.joint
    if _world is not None:
        _world.joint = False
    try:
        yield
    finally:
        if _world is not None:
            _world.joint = before


def mine(items: Iterable[Item]) -> Iterator[Item]:
    """The items that this rank does: those numbered `rank()`, `rank() + count()`, ..."""
    return itertools.islice(items, rank(), None, count())


def each(what: str, items: Sequence[Item], work: Callable[[Item], Json]) -> list[Json]:
    """What independent work on each item gives, in the order of the items; each rank does its own, `alone`.

    Args:
        what: the work, in a few words.
        items: the same at every rank.
        work: gives what JSON holds, with lists for tuples.
    """
    # before a wait without a limit
    meet(f"{what}, {len(items)} in all")
    numbers = list(mine(range(len(items))))
    with alone():
        own = [work(items[number]) for number in numbers]
    wait()
    found = exchange(own, what)
    return [found[number % count()][number // count()] for number in range(len(items))]


def wait() -> None:
    """Wait for all ranks to come here, however long their own work takes; `meet` before it.

    Raises:
        GlossaeError: a rank has failed, or was lost.
    """
    if count() == 1 or _world is None:
        return
    from torch import distributed

    with reaching():
        distributed.barrier(group=_world.waiting)


@contextmanager
def called(job: Any) -> Iterator[None]:
    """At rank 0: joint work, to which the others are called with `job`, which JSON holds."""
    if _world is not None:
        _world.store.set(f"job/{_world.called}", json.dumps(job))
        _world.called += 1
    with together():
        yield


def jobs() -> Iterator[Any]:
    """At other ranks: yield every job that rank 0 calls for, inside the joint work, until rank 0 has ended.

    Raises:
        GlossaeError: a rank has failed.
    """
    own = _world
    assert own is not None
    while True:
        if failed := _failed(own):
            raise GlossaeError(failed)
        if _there(own, f"job/{own.called}"):
            job = json.loads(own.store.get(f"job/{own.called}"))
            own.called += 1
            with together():
                yield job
        elif _there(own, "over"):
            own.told = True
            return
        time.sleep(POLL)


def share(size: int, count: int, key: str = "sae.latents") -> int:
    """The rows that each of some ranks holds of so many, but the last, which holds what is left.

    Raises:
        GlossaeError: a rank would have none; the line names the setting `key`.
    """
    each = -(-size // count)
    if each * (count - 1) >= size:
        raise GlossaeError(
            f"{key}: {size} latents cannot be divided among {count} ranks: each has to hold at least one"
        )
    return each


def rows(size: int) -> slice:
    """The rows of a tensor that this rank holds: of n ranks each has ceil(size / n), and the last what is left.

    Raises:
        GlossaeError: a rank would have none.
    """
    each = share(size, count())
    return slice(rank() * each, min((rank() + 1) * each, size))


# ---- collectives


@contextmanager
def reaching() -> Iterator[None]:
    """Say what became of the others where a collective fails.

    Raises:
        GlossaeError: a rank has failed, was lost, or did not come in time.
    """
    if _world is None:
        yield
        return
    try:
        yield
    except RuntimeError as error:
        # a rank that fails says why before it closes its connections; one that was killed says nothing
        _wait(_world, "failed", 2.0)
        _world.lost = (
            _failed(_world)
            or f"rank {_world.rank}: another rank was lost, or did not come within "
            f"{_world.limit.total_seconds():g} s ({_cause(error)}); the same command carries on from the last "
            "checkpoint"
        )
        raise GlossaeError(_world.lost) from error


def meet(what: str, size: int = 0) -> list[int]:
    """Every rank's `size`, in the order of ranks, after a check that all have come to the same piece of joint work.

    Every exchange begins with this one message of a fixed size, so that ranks which have taken different branches
    find out here, and not by waiting for each other.

    Args:
        what: the piece, in words that are the same at every rank.
        size: a number of this rank's own.

    Raises:
        GlossaeError: a rank is at another piece, or was lost.
    """
    if count() == 1:
        return [size]
    import torch

    own = _world
    assert own is not None
    if own.lost is not None:
        raise GlossaeError(own.lost)
    own.met += 1
    said = f"{own.met}: {what}".encode()[:SAID].ljust(SAID)
    message = torch.frombuffer(bytearray(said + size.to_bytes(8, "little")), dtype=torch.uint8)
    found = [each.numpy().tobytes() for each in gather(message)]
    first = found[0][:SAID]
    for other, its in enumerate(found):
        if its[:SAID] != first:
            at, there = (words.decode(errors="replace").strip() for words in (first, its[:SAID]))
            own.lost = (
                f"rank {other}: is at another piece of work ({there}) than rank 0 ({at}); start every rank with the "
                "same command, version, files and libraries"
            )
            raise GlossaeError(own.lost)
    return [int.from_bytes(each[SAID:], "little") for each in found]


def sum_(tensor: "Tensor") -> "Tensor":
    """The sum of every rank's tensor, in place; all ranks get the same bits."""
    if count() > 1:
        from torch import distributed

        with reaching():
            distributed.all_reduce(tensor)
    return tensor


def least_(tensor: "Tensor") -> "Tensor":
    """The smallest of every rank's values, in place."""
    if count() > 1:
        from torch import distributed

        with reaching():
            distributed.all_reduce(tensor, op=distributed.ReduceOp.MIN)
    return tensor


def total(number: int) -> int:
    """The sum of every rank's number."""
    if count() == 1:
        return number
    import torch

    return int(sum_(torch.tensor([number])))


def gather(tensor: "Tensor") -> "list[Tensor]":
    """Every rank's tensor, all of one shape and type, in the order of ranks."""
    if count() == 1:
        return [tensor]
    import torch
    from torch import distributed

    # as bytes: not every backend knows every type
    own = tensor.contiguous().reshape(-1).view(torch.uint8)
    found = [torch.empty_like(own) for _ in range(count())]
    with reaching():
        distributed.all_gather(found, own)
    return [each.view(tensor.dtype).view(tensor.shape) for each in found]


def gather_lists(tensor: "Tensor", what: str = "a list") -> "list[Tensor]":
    """Every rank's tensor of one dimension, whose lengths may differ, in the order of ranks; see `meet` for `what`."""
    if count() == 1:
        return [tensor]
    lengths = meet(what, len(tensor))
    padded = tensor.new_zeros(max(lengths))
    padded[: len(tensor)] = tensor
    return [each[:length] for each, length in zip(gather(padded), lengths, strict=True)]


def exchange(value: Any, what: str = "values") -> list[Any]:
    """Every rank's value, which JSON holds, in the order of ranks; see `meet` for `what`."""
    if count() == 1:
        return [value]
    import torch

    own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    return [json.loads(each.numpy().tobytes()) for each in gather_lists(own, what)]


def sum_arrays(what: str, *arrays: "np.ndarray") -> None:
    """Add up every rank's arrays in place; see `meet` for `what`, which says their sizes.

    Where at most one rank has another value than 0, every rank gets that value bit for bit.
    """
    if count() == 1:
        return
    import torch

    meet(what)
    for array in arrays:
        sum_(torch.from_numpy(array))


def first_arrays(what: str, arrays: "dict[str, np.ndarray] | None") -> "dict[str, np.ndarray] | None":
    """Rank 0's arrays by name, or None if it has none."""
    if count() == 1:
        return arrays
    import numpy as np
    import torch
    from torch import distributed

    described = None if arrays is None else {name: [a.dtype.str, *a.shape] for name, a in arrays.items()}
    (described, *_) = exchange(described if rank() == 0 else None, what)
    if described is None:
        return None
    found = {}
    for name, (dtype, *shape) in described.items():
        array = np.empty(shape, dtype) if arrays is None or rank() else np.array(arrays[name], order="C")
        if array.nbytes:
            with reaching():
                distributed.broadcast(torch.from_numpy(array.reshape(-1).view(np.uint8)), 0)
        found[name] = array
    return found


def in_turn(
    own: "Iterator[tuple[Tensor, ...]]", device: "str | torch.device", what: str = "a sequence"
) -> "Iterator[tuple[Tensor, ...]]":
    """Yield one sequence at every rank, of which this rank makes `mine`; see `meet` for `what`.

    The ranks make `count()` items at the same time, and each sends its own to the others.
    """
    if count() == 1:
        yield from own
        return
    import torch
    from torch import distributed

    while True:
        mine = next(own, None)
        shapes = [] if mine is None else [[str(each.dtype), *each.shape] for each in mine]
        for source, described in enumerate(exchange(shapes, what)):
            if not described:
                return
            parts = []
            for place, (dtype, *shape) in enumerate(described):
                if source == rank():
                    assert mine is not None
                    part = mine[place].contiguous()
                else:
                    part = torch.empty(
                        shape, dtype=getattr(torch, dtype.removeprefix("torch.")), device=device
                    )
                if part.numel():
                    with reaching():
                        distributed.broadcast(part.reshape(-1).view(torch.uint8), source)
                parts.append(part)
            if source == rank():
                mine = None
            yield tuple(parts)
