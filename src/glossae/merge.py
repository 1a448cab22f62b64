"""`glossae merge`: its arguments, and what it does."""

import argparse
from pathlib import Path
from typing import Any

_USAGE = "glossae merge RUN OTHER [OTHER ...]"
_ABOUT = """\
Copy what shards have computed in copies of a run's folder into the run's folder, for a cluster without a disk that all
nodes see. The next 'glossae run' of the folder finds it, and goes on as if it had computed everything itself.

  glossae run find ... --out runs/x --until effects      the stages before the divided one
  glossae run find ... --out /node1/x --shard 1/2        in copies of runs/x, one on each node
  glossae run find ... --out /node2/x --shard 2/2
  glossae merge runs/x /node1/x /node2/x
  glossae run find ... --out runs/x

Shards that work in one folder need no merge."""


def add_merge(commands: Any) -> None:
    """Add `glossae merge` to the commands."""
    short = "bring together what shards of a run have computed in several folders"
    parser = commands.add_parser("merge", help=short, usage=_USAGE, description=_ABOUT)
    parser.set_defaults(do=_merge)
    parser.need("run", nargs="?", metavar="RUN", help="the folder of the run")
    parser.need("others", nargs="*", metavar="OTHER", help="copies of it, in which shards have run")


def _merge(given: argparse.Namespace) -> dict[str, Any]:
    from glossae.run import merge

    copied = merge(Path(given.run), [Path(other) for other in given.others])
    print(f"{copied} files of finished parts were copied into {given.run}")
    return {"folder": given.run, "copied": copied}
