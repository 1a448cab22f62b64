"""Large samples, made in a process of their own: checking the type of every word makes them ten times slower."""

import json
import os
import subprocess
import sys
from pathlib import Path

import toy_grammar


def made_elsewhere(expression):
    """The value of an expression over `toy_grammar`, as JSON gives it back."""
    script = (
        "import dataclasses, json; from toy_grammar import *;"
        f"print(json.dumps({expression}, default=dataclasses.asdict))"
    )
    tools = str(Path(toy_grammar.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([tools, os.environ.get("PYTHONPATH", "")])},
    )
    return json.loads(done.stdout)
