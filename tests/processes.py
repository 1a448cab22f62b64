"""Several ranks, as torchrun starts them, but forked from one process that has imported torch for all."""

import multiprocessing
import os
import socket
import sys
import tempfile
from pathlib import Path


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def ranks_of(count, work, *arguments, seconds=240, **environment):
    """Let each of `count` ranks do `work(*arguments)`; gives (status, standard output, standard error) of each.

    `work` is a function of a module, and returns its exit status.
    """
    # of the process that they are forked from
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rank_worker"])
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for rank in range(count):
            its = shared | {"RANK": str(rank)} | environment
            process = context.Process(target=_child, args=(work, arguments, its, f"{folder}/{rank}"))
            process.start()
            processes.append(process)
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        for process in processes:
            process.join(seconds)
            process.kill()
            process.join()
        said = [
            [Path(f"{folder}/{rank}.{name}").read_text(encoding="utf-8") for name in ("out", "err")]
            for rank in range(count)
        ]
    return [(process.exitcode, *each) for process, each in zip(processes, said, strict=True)]


def _child(work, arguments, environment, place):
    os.environ.update(environment)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{place}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    import torch

    torch.set_num_threads(1)
    status = work(*arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    # what was imported for others need not be torn down
    os._exit(status)
