"""Metrics, checkpoints and early stops, without a trainer: fast and exact."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from traindeck.console.recipes.resolving import trainers


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_numbers_keep_their_precision_and_losses_that_are_none_are_words(tmp_path: Path) -> None:
    from traindeck_reporting import Metrics

    path = tmp_path / "m.jsonl"
    metrics = Metrics(str(path))
    metrics.write(3, loss=1 / 3, lr=math.nan, grad_norm=-math.inf)
    metrics.event(4, "checkpoint", path="artifacts/checkpoint-4")
    metrics.close()
    first, second = read(path)
    assert first["step"] == 3 and first["loss"] == 1 / 3
    assert first["lr"] == "NaN" and first["grad_norm"] == "-Infinity"
    assert second["__event__"] == "checkpoint" and second["path"] == "artifacts/checkpoint-4"
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_attempt_appends_and_a_full_disk_does_not_end_the_training(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from traindeck_reporting import Metrics\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "m = Metrics(sys.argv[2]); m.write(1, loss=1.0)\n"
        "import os; size = os.path.getsize(sys.argv[2])\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))\n"
        "m.write(2, loss=2.0); m.write(3, loss=3.0)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "m.write(4, loss=4.0)\n"
    )
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 0, "time": 1.0}\n')
    done = subprocess.run(
        [sys.executable, "-c", code, str(trainers()), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "metrics cannot be written: file too large" in done.stdout
    lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in (*lines[:2], lines[-1])] == [0, 1, 4]
    assert len(lines) == 4  # the torn line stands alone
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


def test_what_the_trainer_logs_becomes_our_series() -> None:
    from traindeck_reporting import series

    train = {"loss": 0.5, "learning_rate": 1e-4, "num_tokens": 7.0, "epoch": 0.5, "note": "x"}
    assert series(train) == {"loss": 0.5, "lr": 1e-4, "tokens": 7.0, "epoch": 0.5}
    evaluation = {"eval_loss": 0.4, "eval_runtime": 1.2, "eval_num_tokens": 7, "epoch": 0.5}
    assert series(evaluation) == {"eval/loss": 0.4}


def test_tokens_of_earlier_attempts_are_counted_once(tmp_path: Path) -> None:
    from traindeck_reporting import Metrics, Reporter, Stop

    path = tmp_path / "m.jsonl"
    metrics = Metrics(str(path))
    reporter = Reporter(metrics, Stop(), lambda path: None, False)
    # Two attempts before this one: 100 tokens, then 40; each process counts from 0.
    history = [{"num_tokens": n} for n in (50, 100, 20, 40)]
    state = SimpleNamespace(
        global_step=8, max_steps=9, log_history=history, is_world_process_zero=True
    )
    reporter.on_train_begin(None, state, None)
    state.global_step = 9
    reporter.on_log(None, state, None, {"loss": 1.0, "num_tokens": 5})
    metrics.close()
    assert read(path)[-1]["tokens"] == 145


def test_evaluating_and_saving_do_not_slow_the_shown_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import traindeck_reporting
    from traindeck_reporting import Metrics, Reporter, Stop

    clock = [0.0]
    monkeypatch.setattr(traindeck_reporting.time, "monotonic", lambda: clock[0])
    path = tmp_path / "m.jsonl"
    metrics = Metrics(str(path))
    reporter = Reporter(metrics, Stop(), lambda path: None, False)
    state = SimpleNamespace(global_step=0, max_steps=4, log_history=[], is_world_process_zero=True)
    args = SimpleNamespace(output_dir=str(tmp_path), world_size=1)
    reporter.on_train_begin(args, state, None)
    clock[0] = 100.0  # going over the rows of an earlier attempt
    reporter.on_step_begin(args, state, None)
    for step in (1, 2):
        clock[0] += 2.0
        state.global_step = step
        reporter.on_step_end(args, state, SimpleNamespace())
        if step == 1:
            clock[0] += 50.0
            reporter.on_evaluate(args, state, None)
            clock[0] += 30.0
            reporter.on_save(args, state, None)
    reporter.on_log(args, state, None, {"loss": 1.0, "num_tokens": 20})
    metrics.close()
    assert read(path)[-1]["tokens_per_s"] == pytest.approx(20 / 4)


def test_long_steps_are_told_between_two_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import traindeck_reporting
    from traindeck_reporting import Metrics, Reporter, Stop

    clock = [0.0]
    monkeypatch.setattr(traindeck_reporting.time, "monotonic", lambda: clock[0])
    path = tmp_path / "m.jsonl"
    metrics = Metrics(str(path))
    reporter = Reporter(metrics, Stop(), lambda path: None, False)
    state = SimpleNamespace(global_step=0, max_steps=90, log_history=[], is_world_process_zero=True)
    reporter.on_train_begin(None, state, None)
    for step in range(1, 9):
        reporter.on_step_begin(None, state, None)
        clock[0] += 2.0
        state.global_step = step
        if step == 5:
            reporter.on_log(None, state, None, {"loss": 1.0})
    metrics.close()
    told = [(line["step"], "loss" in line) for line in read(path) if "__event__" not in line]
    assert told == [(3, False), (5, True)]


def test_a_signal_is_remembered_and_a_second_ctrl_c_ends_at_once() -> None:
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from traindeck_reporting import Stop\n"
        "stop = Stop(); stop.listen(); me = os.getpid()\n"
        "os.kill(me, signal.SIGTERM); os.kill(me, signal.SIGTERM)\n"
        "assert stop.agreed(1) and stop.signal == signal.SIGTERM\n"
        "print('alive', flush=True); os.kill(me, signal.SIGINT); print('not reached')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(trainers())], capture_output=True, text=True, check=False
    )
    assert done.stdout == "alive\n" and done.returncode == -signal.SIGINT


def test_a_warning_asks_for_one_checkpoint_and_no_end() -> None:
    from traindeck_reporting import Stop

    before = signal.getsignal(signal.SIGUSR2)
    stop = Stop()
    stop.listen()
    try:
        assert not stop.agreed(1) and not stop.save
        os.kill(os.getpid(), signal.SIGUSR2)
        assert not stop.agreed(1) and stop.save
        assert not stop.agreed(1) and not stop.save
    finally:
        stop.release()
    assert signal.getsignal(signal.SIGUSR2) == before


def test_signals_are_given_back() -> None:
    from traindeck_reporting import Stop

    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    stop.listen()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert stop.agreed(1)
    stop.release()
    assert signal.getsignal(signal.SIGTERM) == before


def checkpoint(folder: Path, step: int, **facts: Any) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(b"x")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    (path / "traindeck.json").write_text(json.dumps(facts))
    return path


def test_the_newest_whole_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    from traindeck_checkpoints import choose

    assert choose("auto", tmp_path, {}, ()) is None
    checkpoint(tmp_path, 9)
    wanted = checkpoint(tmp_path, 10)
    (checkpoint(tmp_path, 20) / "checkpoint-is-incomplete.txt").touch()
    (checkpoint(tmp_path, 30) / "trainer_state.json").write_text('{"global_st')
    (checkpoint(tmp_path, 40) / "adapter_model.safetensors").unlink()
    (checkpoint(tmp_path, 50) / "trainer_state.json").unlink()
    (checkpoint(tmp_path, 60) / "trainer_state.json").write_text('{"global_step": 55}')
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "checkpoint-99").touch()
    assert choose("auto", tmp_path, {}, ()) == wanted


def test_a_retry_goes_on_from_its_own_checkpoint_not_again_from_the_first(tmp_path: Path) -> None:
    from traindeck_checkpoints import choose

    given = checkpoint(tmp_path / "earlier run", 9)
    folder = tmp_path / "run"
    folder.mkdir()
    assert choose(str(given), folder, {}, ()) == given
    own = checkpoint(folder, 20)
    assert choose(str(given), folder, {}, ()) == own
    assert choose(str(checkpoint(folder, 15)), folder, {}, ()) == folder / "checkpoint-15"


def test_a_new_start_puts_old_checkpoints_aside(tmp_path: Path) -> None:
    from traindeck_checkpoints import choose

    checkpoint(tmp_path, 9)
    assert choose("never", tmp_path, {}, ()) is None
    checkpoint(tmp_path, 5)
    assert choose("never", tmp_path, {}, ()) is None
    assert (tmp_path / "earlier-1" / "checkpoint-9").is_dir()
    assert (tmp_path / "earlier-2" / "checkpoint-5").is_dir()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_checkpoint_must_agree_in_what_cannot_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from traindeck_checkpoints import choose
    from traindeck_reporting import Refused

    path = checkpoint(tmp_path, 9, rank=4, batch=8)
    with pytest.raises(Refused, match="trained with rank 4, now it is 8"):
        choose("auto", tmp_path, {"rank": 8, "batch": 8}, ("rank",))
    assert choose(str(path), tmp_path, {"rank": 4, "batch": 2}, ("rank",)) == path
    assert "warning: batch was 8 then and is 2 now" in capsys.readouterr().out
    with pytest.raises(Refused, match="no such folder"):
        choose(str(tmp_path / "none"), tmp_path, {}, ())
    with pytest.raises(Refused, match="not a complete checkpoint"):
        choose(str(tmp_path), tmp_path, {}, ())


def test_a_path_is_told_relative_to_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from traindeck_reporting import _in_run

    monkeypatch.setenv("TRAINDECK_RUN_DIR", str(tmp_path))
    assert _in_run(tmp_path / "artifacts" / "checkpoint-1") == "artifacts/checkpoint-1"
    assert _in_run(Path("/elsewhere/x")) == "/elsewhere/x"
    monkeypatch.delenv("TRAINDECK_RUN_DIR")
    assert _in_run(tmp_path / "x") == str(tmp_path / "x")
