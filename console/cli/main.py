"""Entry point of the `traindeck` command.

Without an argument the full-screen application starts, and nothing of the command line is imported;
with one, nothing of Textual is.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from traindeck.console.cli.streams import prepare


def main() -> None:
    """Run, and exit the process."""
    prepare()
    # Importing makes tens of thousands of objects that stay, and the collector walks through them
    # every 700.
    gc.set_threshold(20_000, 20, 20)
    # A shell that completes asks without an argument too.
    if len(sys.argv) == 1 and "_TRAINDECK_COMPLETE" not in os.environ:
        from traindeck.console.cli.screen import run_screen

        end(run_screen())
    from traindeck.console.cli.app import run

    end(run(sys.argv[1:]))


def end(code: int) -> NoReturn:
    """End the process at once. Everything is closed and written by now; taking the interpreter
    apart would free, one by one, what the end of the process frees at once: 10 ms of every
    command."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)


if __name__ == "__main__":
    main()
