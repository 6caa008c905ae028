"""The end of the demo."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from traindeck.console.present.cells import plain
from traindeck.console.present.demo_view import report_lines
from traindeck.console.runs.demo import Report

LONG = [
    "traindeck", "finetune", "sft", "--set", "model=/home/me/.traindeck/runs/1a/artifacts/model",
    "--set", "data=/home/me/a --folder/train.jsonl", "--set", "lr=1e-3",
]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 200])
def test_what_to_go_on_with_can_be_copied_line_by_line(width: int) -> None:
    commands = (("traindeck logs demo-a", "what it said"), (shlex.join(LONG), "one of your own"))
    report = Report(runs=(), curves={}, exam=None, problems=(), commands=commands)
    lines = [plain(line) for line in report_lines(report, [], width=width)]
    assert all(len(line) <= width for line in lines)
    start = lines.index("what it said")
    assert lines[start + 1] == "  traindeck logs demo-a"
    assert lines[start + 2] == "one of your own"
    command = "\n".join(lines[start + 3 :])
    shell = f'traindeck() {{ printf "%s\\n" "$@"; }}\n{command}'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == LONG[1:]
    assert (" \\\n" in command) == (width < 200)
