"""What a trainer tells the world while it trains: metrics, checkpoints, an orderly early stop.

Metrics go in full precision to the file that `TRAINDECK_METRICS` names, one JSON object a line
(FORMAT.md §2); the log gets sentences for people. A TERM, INT or USR1 makes the trainer save a
checkpoint at the end of its step and stop. Nothing here trains. Travels beside the trainers and
imports nothing of Traindeck; torch only where several processes must agree.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

STOPPED_EARLY = 75
"""Exit code of a run that was asked to stop and has saved a checkpoint (EX_TEMPFAIL)."""

REFUSED = 2
"""Exit code when nothing was started because the recipe, the data or the model is not usable."""

NAMES = {
    "learning_rate": "lr",
    "mean_token_accuracy": "token_accuracy",
    "num_tokens": "tokens",
}
TELL_STEP = 5.0
"""Seconds after which the step is told though nothing is logged, for progress and time left."""

UNTIMED = ("_runtime", "_per_second", "total_flos", "_num_tokens", "_num_input_tokens_seen")
"""Ends of the names of logged values that are no series: they describe the call, not the model."""


NO_WORRY = ("mtime may not be reliable", "do not match the ones in the `trainer_state.json`")
"""What transformers says of checkpoints saved within a second, whose numbers are the order that is
wanted, and of options other than a checkpoint's, which the trainers make count."""


class Refused(Exception):
    """What was asked for cannot be done; the message is one sentence for a person."""


class NothingLeft(Exception):
    """The checkpoint that a trainer goes on from is that of the last step. The loop of transformers
    would make one step more, unless that step ends an epoch."""


def first_process() -> bool:
    """Whether this is the one of several processes that speaks and cleans up."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """A line for people; only the first process of several speaks. A log that cannot be written
    (a full disk, a closed pipe) is no reason to lose the training."""
    if first_process():
        with contextlib.suppress(OSError):
            print(text, flush=True)


def calm_libraries() -> None:
    """Settings for torch and its neighbours, to be made before they are imported.

    Threads that wait must sleep, not spin: beside one busy process on 2 cores the same 60 steps
    took 52 and 139 s with OpenMP's default and 14 and 17 s so (measured; alone no difference).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # A name that TRL and PEFT themselves still use.
    warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
    logging.getLogger("transformers.trainer_utils").addFilter(
        lambda record: not any(words in record.getMessage() for words in NO_WORRY)
    )
    if not sys.stdout.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def artifacts() -> Path:
    """The folder for checkpoints and models, made if it is not there."""
    folder = Path(os.environ.get("TRAINDECK_ARTIFACTS") or "artifacts").absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class Metrics:
    """Appends to the run's metrics file. One write a line: readers never see half a line for long.

    Args:
        path: Default: what TRAINDECK_METRICS names, else metrics.jsonl in the artifacts.
    """

    def __init__(self, path: str | None = None) -> None:
        path = path or os.environ.get("TRAINDECK_METRICS") or str(artifacts() / "metrics.jsonl")
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._failed = self._torn = False

    def write(self, step: int, **values: Any) -> None:
        """One object. Numbers that are not finite become the words that FORMAT.md names."""
        line = {"step": step, "time": time.time()}
        line.update((name, _plain(value)) for name, value in values.items())
        data = b"\n" * self._torn + json.dumps(line, allow_nan=False).encode() + b"\n"
        try:
            whole = os.write(self._file, data) == len(data)
        except OSError as error:
            if not self._failed:
                say(f"metrics cannot be written: {(error.strerror or str(error)).lower()}")
            self._failed = True
            return
        self._torn = not whole  # the next line must not be glued to half of this one

    def event(self, step: int, name: str, **values: Any) -> None:
        """One event: `total_steps` with a value, `checkpoint` with a path."""
        self.write(step, __event__=name, **values)

    def close(self) -> None:
        os.close(self._file)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def series(logs: dict[str, Any]) -> dict[str, float]:
    """What a Hugging Face trainer logs, under the names of our series.

    `eval_loss` becomes `eval/loss`; values about the call itself (run time, samples a second) are
    left out.
    """
    found = {}
    for name, value in logs.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if name.endswith(UNTIMED) or (name == "epoch" and "eval_loss" in logs):
            continue
        if name.startswith("eval_"):
            rest = name[len("eval_") :]
            found[f"eval/{NAMES.get(rest, rest)}"] = value
        else:
            found[NAMES.get(name, name)] = value
    return found


# ------------------------------------------------------------------------------------ early stop


class Stop:
    """Remembers that somebody asked for an end. A second Ctrl-C ends the process at once; a second
    TERM does not, since torchrun passes on what each process has already got by itself.

    USR2 asks for a checkpoint and no end: a scheduler says with it that the time is nearly over,
    and what is left of it is worth being trained in.

    Attributes:
        signal: The last of SIGNALS that came, 0 if none did.
        save: Whether, as of the last `agreed`, a checkpoint was asked for. True once a request.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self) -> None:
        self.signal = 0
        self.save = False
        self._wanted = False
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals over."""
        for number in self.SIGNALS:
            self._before[number] = signal.signal(number, self._asked)
        self._before[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, self._warned)

    def release(self) -> None:
        """Give them back."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = number

    def _warned(self, number: int, frame: FrameType | None) -> None:
        self._wanted = True

    def agreed(self, processes: int) -> bool:
        """Whether to stop now. With several processes one request counts for all of them: they
        must leave the loop (or save) at the same step, or the others wait for ever."""
        wanted, self._wanted = self._wanted, False
        if processes == 1:
            self.save = wanted
            return bool(self.signal)
        import torch
        import torch.distributed

        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        flags = torch.tensor([self.signal, int(wanted)], device=device)
        torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
        ended, saved = flags.tolist()
        self.save = bool(saved)
        return bool(ended)


# -------------------------------------------------------------------------------------- callback


class Reporter:
    """The events of a Hugging Face trainer, as our metrics and lines. Mixed with TrainerCallback
    by `reporter` (this module must not import transformers).

    Args:
        on_saved: Called with each checkpoint's folder once it is whole.
        lines: Whether to print a line a log step (a terminal has its progress bar instead).
        own: Whether the checkpoint that it goes on from, if any, is this run's. What another run
            logged before it is not reported as this one's.
    """

    def __init__(
        self,
        metrics: Metrics,
        stop: Stop,
        on_saved: Callable[[Path], None],
        lines: bool,
        own: bool = True,
    ) -> None:
        self.metrics = metrics
        self.stop = stop
        self.on_saved = on_saved
        self.lines = lines
        self.own = own
        self.stopped = False
        self._tokens = 0
        self._tokens_before = 0  # of the attempt that is resumed
        self._mark = self._idle_from = self._told = time.monotonic()
        self._step = 0
        self._pace = 0.0
        self._paused = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step > state.max_steps:
            raise Refused(
                f"checkpoint-{state.global_step} is past the {state.max_steps} steps asked for."
            )
        self._mark = self._idle_from = self._told = time.monotonic()
        self._step = state.global_step
        last = 0
        for log in state.log_history:  # each process counts from 0: the attempts' ends add up
            tokens = int(log.get("num_tokens", last))
            self._tokens_before += last if tokens < last else 0
            last = tokens
        self._tokens_before += last
        if not self.own:
            state.log_history.clear()
        if state.is_world_process_zero:
            self.metrics.event(state.global_step, "total_steps", value=state.max_steps)
        if state.global_step == state.max_steps:
            raise NothingLeft

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._step == state.global_step and self._tokens == 0:
            self._mark = time.monotonic()  # not counted: going over the rows of an earlier attempt
        if time.monotonic() - self._told >= TELL_STEP:
            self._tell(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._idle_from = time.monotonic()
        if state.global_step >= state.max_steps:
            control.should_log = True  # however far the last multiple of log_every lies back
        elif self.stop.agreed(args.world_size):
            self.stopped = True
            control.should_save = control.should_log = True
            control.should_evaluate = False
            control.should_training_stop = True
            name = signal.Signals(self.stop.signal).name if self.stop.signal else "a request"
            say(f"{name}: saving a checkpoint at step {state.global_step}, then stopping")
        elif self.stop.save:
            control.should_save = True
            say(f"SIGUSR2: saving a checkpoint at step {state.global_step}, then going on")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pause()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pause()
        if state.is_world_process_zero:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            self.on_saved(path)
            self.metrics.event(state.global_step, "checkpoint", path=_in_run(path))
            if self.lines:
                say(f"saved {path.name}")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if not logs or not state.is_world_process_zero:
            return
        found = series(logs)
        if "train_loss" in found:  # the summary at the end; the caller prints it
            return
        if "loss" in found:
            now = time.monotonic()
            tokens = int(found.get("tokens", 0))
            seconds = now - self._mark - self._paused
            if tokens > self._tokens and seconds > 0:
                found["tokens_per_s"] = (tokens - self._tokens) / seconds
            self._pace = seconds / max(1, state.global_step - self._step)
            self._tokens, self._mark, self._paused = tokens, now, 0.0
            self._step = state.global_step
            found["tokens"] = tokens + self._tokens_before
        self._tell(state, found)
        if self.lines:
            say(self._line(state, found))

    def _tell(self, state: Any, found: dict[str, float] | None = None) -> None:
        self._told = time.monotonic()
        if state.is_world_process_zero:
            self.metrics.write(state.global_step, **(found or {}))

    def _pause(self) -> None:
        now = time.monotonic()
        self._paused += now - self._idle_from
        self._idle_from = now

    def _line(self, state: Any, found: dict[str, float]) -> str:
        words = [f"step {state.global_step}/{state.max_steps}"]
        for name, shown in (("loss", ".4f"), ("eval/loss", ".4f"), ("lr", ".3g")):
            if name in found:
                words.append(f"{name} {found[name]:{shown}}")
        if "tokens_per_s" in found:
            words.append(f"{found['tokens_per_s']:,.0f} tok/s")
            left = self._pace * (state.max_steps - state.global_step)
            words.append(f"{clock(left)} left")
        return "  ".join(words)


def reporter(*args: Any) -> Any:
    """A `Reporter` that a Hugging Face trainer takes as a callback."""
    from transformers import TrainerCallback

    kind = type("Reporter", (Reporter, TrainerCallback), {})
    return kind(*args)


def clock(seconds: float) -> str:
    """Seconds as `0:07`, `12:30`, `3:04:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _in_run(path: Path) -> str:
    """A path relative to the run directory where it lies in it: runs are moved and mirrored."""
    run = os.environ.get("TRAINDECK_RUN_DIR")
    if run:
        try:
            return str(path.relative_to(Path(run).absolute()))
        except ValueError:
            pass
    return str(path)
