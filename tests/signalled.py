"""Processes that stop themselves when they touch a file for the n-th time: no clock and no load decides the moment."""

from __future__ import annotations

import os
import signal
import sys

CODE = "import sys; from tests.signalled import main; main(*sys.argv[1:])"


def command(how: signal.Signals, name: str, touches: int, *words: object) -> list[str]:
    """`sciml-cf WORDS`, to be run from the root in a session of its own, that stops itself as ``stop_at`` says."""
    return [sys.executable, "-c", CODE, str(int(how)), name, str(touches), *map(str, words)]


def stop_at(name: str, touches: int, how: int | None = None, *, delay: float = 0.0) -> None:
    """Let this process stop at its n-th touch of a file: opened for appending, or renamed to.

    Args:
        name: how the path of the file ends; or the start of a path that ends in a slash: then all files in that folder
            count, opened in any way and removed too.
        touches: n.
        how: the signal that its process group gets at once; None ends this process alone, after the delay, with
            nothing tidied up (SIGALRM, which does as SIGKILL does where nobody handles it).
        delay: seconds.
    """
    left, folder = touches, name.endswith("/")

    def watch(event: str, given: tuple) -> None:
        nonlocal left
        if event not in ("open", "os.rename", "os.remove") or isinstance(given[0], int):
            return
        path = os.fsdecode(given[event == "os.rename"])
        counts = event != "os.remove" and (event == "os.rename" or given[1] == "a")
        left -= path.startswith(name) if folder else counts and path.endswith(name)
        if left == 0:
            left = -1  # once
            os.killpg(0, how) if how is not None else signal.setitimer(signal.ITIMER_REAL, delay + 1e-6)

    sys.addaudithook(watch)


def main(how: str, name: str, touches: str, *words: str) -> None:
    from sciml_cf.cli import main as cli

    # A shell that starts the tests in the background makes them ignore SIGINT; this process must not inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stop_at(name, int(touches), int(how))
    cli(words)
