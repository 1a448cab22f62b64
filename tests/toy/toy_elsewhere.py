"""Large samples, made in a process of their own: checking the type of every word makes them ten times slower."""

import json
import subprocess
import sys


def made_elsewhere(expression):
    """The value of an expression over `glossae.toy`, as JSON gives it back."""
    script = (
        "import dataclasses, json; from glossae.toy import *;"
        f"print(json.dumps({expression}, default=dataclasses.asdict))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
