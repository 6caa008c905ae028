"""Entry point of the `traindeck` command.

Without an argument the full-screen application starts, and nothing of the command line is imported;
with one, nothing of Textual is.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run, and exit the process."""
    if len(sys.argv) == 1:
        from traindeck.console.cli.screen import run_screen

        sys.exit(run_screen())
    from traindeck.console.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
