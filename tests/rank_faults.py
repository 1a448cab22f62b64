"""One rank of two that go wrong in the way that is asked for: what the command line does around a run."""

import os
import sys
import time
from datetime import timedelta

from glossae import cli, ranks
from glossae.errors import GlossaeError


def work(fault):
    """Joint work in which rank 1 goes wrong after the first sum."""
    import torch

    ranks.sum_(torch.ones(3))
    if ranks.rank() == 1:
        if fault == "refuses":
            raise GlossaeError("corpora.train: rank 1 finds no text")
        if fault == "bug":
            raise ZeroDivisionError("of rank 1")
        if fault == "memory":
            raise MemoryError
        if fault == "dies":
            os._exit(9)
        if fault == "hangs":
            time.sleep(8)
    ranks.sum_(torch.ones(3))


def run(given):
    fault = sys.argv[1]
    ranks.agree("recipe", "one" if fault != "differs" or ranks.world()[0] == 0 else "another")
    if ranks.world()[0]:
        for job in ranks.jobs():
            work(job)
        return {}
    if fault == "alone":
        raise GlossaeError("layer: rank 0 goes wrong outside of joint work")
    with ranks.called(fault):
        work(fault)
    print("done")
    return {}


if __name__ == "__main__":
    cli._run = run
    limit = timedelta(seconds=float(sys.argv[2]))
    ranks.joined.__wrapped__.__kwdefaults__.update(limit=limit, reach=limit)
    raise SystemExit(cli.main(["run"]))
