"""Programs that the agent runs for the console: what they print comes back, whole or said to be
cut, and nobody waits for them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, Refusal, Served, runs, until


def command(*argv: str, **more: Any) -> dict[str, Any]:
    return {"argv": list(argv), **more}


def said(answer: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    """What is said of each command, with what it printed."""
    found = []
    for done in answer["done"]:
        out, body = body[: done["out"]], body[done["out"] :]
        err, body = body[: done["err"]], body[done["err"] :]
        found.append({**done, "out": out, "err": err})
    assert body == b""
    return found


def ran(agent: Agent, *commands: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return said(*agent.call_body("run", commands=list(commands), **more))


def out(done: dict[str, Any], name: str = "out") -> bytes:
    printed: bytes = done[name]
    return printed


@pytest.fixture
def served(agent: Agent) -> Iterator[Served]:
    link = Served(agent)
    yield link
    link.close()


def test_what_a_program_prints_comes_back(every_agent: Agent) -> None:
    script = "printf 'a\\000b'; printf c >&2; exit 3"
    (done,) = said(*every_agent.once("run", {"commands": [command("sh", "-c", script)]}))
    assert (done["outcome"], done["code"]) == ("exited", 3)
    assert (out(done), out(done, "err")) == (b"a\0b", b"c")
    assert (done["out_cut"], done["err_cut"]) == (0, 0)


def test_several_programs_run_at_the_same_time(agent: Agent, tmp_path: Path) -> None:
    # Each waits for the file that the other makes.
    script = f"cd {tmp_path}; touch $0; until [ -e $1 ]; do sleep 0.01; done; echo $0"
    commands = [command("sh", "-c", script, "a", "b"), command("sh", "-c", script, "b", "a")]
    done = ran(agent, *commands)
    assert [out(one) for one in done] == [b"a\n", b"b\n"]


def test_a_program_gets_its_stdin_and_then_its_end(agent: Agent) -> None:
    text = "größer\ud8ff".replace("\ud8ff", "\udcff") * 100_000
    done = ran(agent, command("cat", stdin=text), command("cat"))
    assert out(done[0]) == text.encode("utf-8", "surrogateescape")
    assert out(done[1]) == b""


def test_a_program_that_does_not_read_its_stdin_is_none_the_worse(agent: Agent) -> None:
    (done,) = ran(agent, command("true", stdin="x" * (1 << 20)))
    assert (done["outcome"], done["code"]) == ("exited", 0)


def test_a_missing_program_is_code_127_in_words(agent: Agent, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    commands = [
        command("no-such-program"),
        command("/no/such"),
        command(str(plain)),
        command("true", cwd="/no/such/folder"),
    ]
    done = ran(agent, *commands)
    assert [one["code"] for one in done] == [127] * 4
    assert out(done[0], "err") == b"no-such-program: no such program\n"
    assert out(done[2], "err") == f"{plain}: Permission denied\n".encode()
    assert out(done[3], "err") == b"true: No such file or directory\n"


def test_nothing_is_read_by_a_shell(agent: Agent) -> None:
    (done,) = ran(agent, command("echo", "$HOME; `id` *", ""))
    assert out(done) == b"$HOME; `id` * \n"


def test_a_signal_is_told_from_a_code(agent: Agent) -> None:
    (done,) = ran(agent, command("sh", "-c", "kill -TERM $$"))
    assert (done["outcome"], done["code"]) == ("signalled", 15)


def test_variables_are_set_and_dropped(agent: Agent) -> None:
    one = command("env", env={"ADDED": "1", "SLURM_CONF": "/x"}, drop=["SLURM_", "SBATCH_"])
    answer = agent.once(
        "run", {"commands": [one]}, env={"SLURM_JOB_ID": "5", "KEPT": "2", "PATH": os.defpath}
    )
    lines = out(said(*answer)[0]).decode().splitlines()
    assert {"ADDED=1", "SLURM_CONF=/x", "KEPT=2"} <= set(lines)
    assert not any(line.startswith("SLURM_JOB_ID") for line in lines)


def test_a_program_has_no_descriptor_but_its_three(agent: Agent) -> None:
    script = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    done = ran(agent, *[command(sys.executable, "-c", script)] * 3)
    assert [out(one) for one in done] == [b"[0, 1, 2]\n"] * 3


def test_who_takes_too_long_is_ended_with_what_it_started(agent: Agent, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $! $$ > {pids}; echo begun; wait"
    commands = [command("sh", "-c", script), command("echo", "quick")]
    done = ran(agent, *commands, timeout=1.0)
    assert [one["outcome"] for one in done] == ["timeout", "exited"]
    assert done[0]["code"] is None
    assert out(done[0]) == b"begun\n"
    until(lambda: not any(map(runs, map(int, pids.read_text().split()))), "both to be gone")


def test_what_stays_in_the_background_is_not_waited_for(agent: Agent, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"sleep 300 & echo $! > {pid}; echo done"
    (done,) = ran(agent, command("sh", "-c", script), timeout=60.0)
    assert (done["outcome"], out(done)) == ("exited", b"done\n")
    os.kill(int(pid.read_text()), 9)


def test_of_a_flood_the_beginning_comes_and_what_was_cut_is_said(agent: Agent) -> None:
    flood = command("sh", "-c", "head -c 40000000 /dev/zero; echo end >&2")
    done = ran(agent, flood, command("echo", "other"))
    kept = len(out(done[0]))
    assert 1 << 20 < kept < 1 << 24
    assert kept + done[0]["out_cut"] == 40_000_000
    assert (done[0]["outcome"], out(done[0], "err"), out(done[1])) == (
        "exited",
        b"end\n",
        b"other\n",
    )


def test_what_is_printed_in_many_small_pieces_comes_whole(every_agent: Agent) -> None:
    """As squeue prints ten thousand jobs."""
    line = b"x" * 120 + b"\n"
    script = (
        "import os\nfor _ in range(12_000): os.write(1, b'x' * 120 + b'\\n')\nos.write(2, b'e')"
    )
    (done,) = said(*every_agent.once("run", {"commands": [command(sys.executable, "-c", script)]}))
    assert (done["outcome"], done["code"], done["out_cut"]) == ("exited", 0, 0)
    assert out(done) == line * 12_000
    assert out(done, "err") == b"e"


def test_serve_answers_while_a_program_takes_its_time(served: Served) -> None:
    slow = served.ask("run", {"commands": [command("sleep", "300")]})
    for _ in range(3):
        assert "now" in served.call("hello", {})[0]
    served.send({"id": slow, "close": True})
    (done,) = said(*served.call("run", {"commands": [command("echo", "after")]}))
    assert out(done) == b"after\n"


def children(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(name))
    return found


def test_a_closed_request_and_a_closed_connection_end_the_program(served: Served) -> None:
    pid = served.process.pid
    first = served.ask("run", {"commands": [command("sleep", "300")]})
    until(lambda: len(children(pid)) == 1, "the program to run")
    served.send({"id": first, "close": True})
    until(lambda: not children(pid), "the program and its remains to be gone")
    served.ask("run", {"commands": [command("sleep", "300")]})
    (other,) = until(lambda: children(pid), "the program to run")
    served.close()
    until(lambda: not runs(other), "the program to be gone")


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"commands": []},
        {"commands": ["true"]},
        {"commands": [{"argv": []}]},
        {"commands": [{"argv": [5]}]},
        {"commands": [{"argv": ["a\0b"]}]},
        {"commands": [{"argv": ["true"], "stdin": 5}]},
        {"commands": [{"argv": ["true"], "env": {"a=b": "c"}}]},
        {"commands": [{"argv": ["true"]}], "timeout": 0},
        {"commands": [{"argv": ["true"]}], "timeout": "soon"},
        {"commands": [{"argv": ["true"]}] * 100},
    ],
    ids=lambda request: json.dumps(request)[:60],
)
def test_what_makes_no_sense_is_refused(agent: Agent, request_: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        agent.call("run", **request_)
