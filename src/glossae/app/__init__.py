"""`glossae app`: its flags; and `launch`, which a Space calls."""

import argparse
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.flags import typed
from glossae.recipe import Count, Text

_USAGE = "glossae app RUN [--host HOST] [--port N]"
_ABOUT = """\
Open a run in the browser: type text and see where its units fire, turn them, and read how the model goes on.

  glossae app runs/demo

The app answers this machine only, and sends nothing elsewhere. It needs the extra app. Ctrl-C ends it."""


def add_app(commands: Any) -> None:
    """Add `glossae app` to the commands."""
    short = "look at a run's units on your text, and turn them, in the browser"
    parser = commands.add_parser("app", help=short, usage=_USAGE, description=_ABOUT)
    parser.set_defaults(do=_app)
    parser.need(
        "run", nargs="?", metavar="RUN", help="the folder of a run that has finished the stage features"
    )
    host = "the address to answer on; 0.0.0.0 lets every machine of the network in, without a password [127.0.0.1]"
    parser.add_argument("--host", type=typed(Text), metavar="HOST", help=host)
    parser.add_argument("--port", type=typed(Count), metavar="N", help="the port [the first free from 7860]")


def _app(given: argparse.Namespace) -> None:
    launch(given.run, host=given.host, port=given.port)


def launch(run: str | Path, *, host: str | None = None, port: int | None = None, wait: bool = True) -> Any:
    """Open a run in the browser, and serve it until it is interrupted.

    Args:
        run: the folder of a run that has finished the stage `features`.
        host: the address to answer on; by default 127.0.0.1, and in a Space of the Hugging Face hub 0.0.0.0.
        port: by default the first free one from 7860.
        wait: whether to return only when interrupted; otherwise the Gradio app is returned, to be closed.

    Raises:
        GlossaeError: it is no run or has no unit, its model cannot be loaded, Gradio is missing, or the port is taken.
    """
    started = time.perf_counter()
    where = host or ("0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1")
    # before anything is loaded; Gradio would try a hundred ports of an address that is none
    _check_address(where, port)
    # as Gradio takes addresses of IPv6
    where = f"[{where}]" if ":" in where and not where.startswith("[") else where
    # read when Gradio is imported: no version check and no usage figures
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401 - it is only asked whether it is there
    except ImportError as error:
        raise GlossaeError(f"app: needs gradio ({error}): {install('app')}") from error
    from glossae.app.page import build, serve
    from glossae.app.workbench import Workbench

    bench = Workbench(run)
    print(f"{bench.lm.name} loaded, {len(bench.units)} units", flush=True)
    page, address = serve(build(bench), bench, where, port)
    # also with --quiet or --json: without its address the app is of no use
    print(
        f"{address} after {time.perf_counter() - started:.0f} s; Ctrl-C ends it", file=sys.stderr, flush=True
    )
    if not wait:
        return page
    try:
        _interrupted()
    except KeyboardInterrupt:
        return page
    finally:
        page.close(verbose=False)


def _check_address(host: str, port: int | None) -> None:
    if port is not None and port > 65535:
        raise GlossaeError(f"--port: must be at most 65535, got '{port}'")
    try:
        family, *_, place = socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(place)
    # a UnicodeError is of a name that cannot be a host's
    except (OSError, UnicodeError) as error:
        raise GlossaeError(
            f"app: cannot be served at {host}, port {port or 'from 7860'} ({error})"
        ) from error


def _interrupted() -> None:
    while True:
        time.sleep(3600)
