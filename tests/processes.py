"""Start the processes of a run of several ranks, as torchrun would, but without its restarts."""

import os
import socket
import subprocess
import sys


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def started(commands, **environment):
    """One process for each command; `RANK` and the rest of torchrun's environment are set."""
    port = environment.pop("MASTER_PORT", free_port())
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "OMP_NUM_THREADS": "1",
                "RANK": str(rank),
                "WORLD_SIZE": str(len(commands)),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands)
    ]


def ended(processes, seconds=240):
    """(Status, standard output, standard error) of each process."""
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *each) for process, each in zip(processes, said, strict=True)]
