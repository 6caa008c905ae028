"""From a run's files into the index: once, in order of trust, across attempts."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from traindeck.backends.base import State
from traindeck.console.metrics.capture import CHUNK, KINDS, Source, ingest, kind_of, looked_for
from traindeck.console.runs.beside import AFTERWARDS, files_beside, own_files
from traindeck.console.store.index import Index
from traindeck.console.store.records import CHECKPOINT, RunRecord

from .conftest import NOW, RUN, Desk
from .test_tfevents import record, scalar

DATA = Path(__file__).parent / "data"


def rows(*pairs: tuple[int, float], **more: float) -> bytes:
    return "".join(
        json.dumps({"step": s, "time": NOW + s, "loss": v, **more}) + "\n" for s, v in pairs
    ).encode()


def printed(*pairs: tuple[int, float]) -> bytes:
    return "".join(f"step {s}/100: loss {v:.4g}\n" for s, v in pairs).encode()


def state(steps: Sequence[tuple[int, float]], **more: object) -> bytes:
    history = [{"step": s, "loss": v} for s, v in steps]
    return json.dumps({"log_history": history, "global_step": steps[-1][0], **more}).encode()


def test_the_more_precise_source_stands_and_is_named(desk: Desk) -> None:
    desk.feed("stdout", printed((1, 0.123456), (2, 0.2), (3, 0.3)))
    desk.feed("tensorboard", (DATA / "trl.tfevents").read_bytes()[:0])
    desk.feed("metrics", rows((1, 0.123456), (2, 0.2)))
    assert desk.pairs("loss") == [(1, 0.123456), (2, 0.2), (3, 0.3)]
    assert desk.run.metrics["loss"].source == "hook+stdout"
    desk.feed("stdout", printed((1, 0.123456), (2, 0.2), (3, 0.3), (4, 0.4)))
    assert desk.pairs("loss")[0] == (1, 0.123456), "what is read later from a worse source yields"


def test_a_trl_run_is_the_same_from_each_of_its_files(desk: Desk) -> None:
    saved = (DATA / "trl_trainer_state.json").read_bytes()
    desk.feed("stdout", (DATA / "trl_plain.log").read_bytes(), final=True)
    from_log = desk.pairs("loss")
    desk.feed("tensorboard", (DATA / "trl.tfevents").read_bytes())
    desk.feed("trainer_state", saved)
    run = desk.run
    assert [step for step, _ in from_log] == [step for step, _ in desk.pairs("loss")]
    assert run.metrics["loss"].source == "trainer_state"
    assert {key for key in run.metrics if "/" not in key} == {
        "loss", "lr", "grad_norm", "entropy", "token_accuracy", "tokens", "epoch",
    }  # fmt: skip
    assert (run.main, run.progress.step, run.progress.total) == ("loss", 30, 30)


def test_counted_lines_make_room_for_steps_and_never_mix_with_them(desk: Desk) -> None:
    log = (DATA / "hf_trainer_plain.log").read_bytes()
    live = log[: log.index(b"{'train_runtime")]
    desk.feed("stdout", live)
    assert desk.points("loss").sources == ("counted",)
    assert [step for step, _ in desk.pairs("loss")] == list(range(1, 9))
    assert desk.run.progress.step is None, "a number is no step"
    desk.feed("trainer_state", state([(5, 4.165), (10, 4.159)], max_steps=40))
    assert desk.pairs("loss") == [(5, 4.165), (10, 4.159)]
    desk.feed("stdout", live, path="attempts/0/logs/again")
    assert desk.pairs("loss") == [(5, 4.165), (10, 4.159)], "and later ones stay away"
    desk.feed("stdout", log, final=True)  # its end tells the steps: it is read again
    assert [step for step, _ in desk.pairs("eval/loss")] == [10, 20, 30, 40]
    assert [step for step, _ in desk.pairs("loss")] == [5, 10, 15, 20, 25, 30, 35, 40]


@pytest.mark.parametrize("first", ["stdout", "jsonl"])
def test_epochs_that_are_printed_are_no_steps_of_a_file_that_tells_steps(
    desk: Desk, first: str
) -> None:
    log = b"".join(b"Epoch %d/4: train_loss=%d.5 val_acc=0.5\n" % (n, n) for n in range(1, 5))
    steps = [(n, n / 8) for n in range(10, 210, 10)]
    sources = {"stdout": log, "jsonl": rows(*steps[:9])}
    desk.feed(first, sources.pop(first))
    for kind, data in sources.items():
        desk.feed(kind, data)
    desk.feed("jsonl", rows(*steps))
    assert desk.pairs("loss") == steps
    summary = desk.run.metrics["loss"]
    assert (summary.count, summary.max, summary.source) == (20, 25.0, "jsonl")
    assert [step for step, _ in desk.pairs("eval/acc")] == [1, 2, 3, 4], "only the log has it"
    assert desk.run.metrics["eval/acc"].source == "stdout"


def test_epochs_of_all_attempts_make_room_for_files_that_are_read_after_the_logs(
    desk: Desk,
) -> None:
    def log(*epochs: int) -> bytes:
        return b"".join(b"Epoch %d/6: train_loss=%d.5\n" % (n, n) for n in epochs)

    steps = [(n, n / 8) for n in range(0, 600, 10)]
    desk.feed("stdout", log(1, 2, 3), final=True)
    desk.retry(1)
    desk.feed("stdout", log(4, 5, 6), attempt=1, final=True)
    desk.feed("jsonl", rows(*steps[:30]))
    desk.feed("jsonl", rows(*steps[30:]), attempt=1)
    assert desk.pairs("loss") == steps
    assert desk.points("loss").seams == ((0, 0), (30, 1))


@pytest.mark.parametrize(("last", "left"), [(3000, 3000), (300_000, 30)])
def test_thousands_of_episodes_stay_or_go_as_a_whole(desk: Desk, last: int, left: int) -> None:
    desk.feed("stdout", b"".join(b"Episode %d: loss=%d.5\n" % (n, n) for n in range(1, 3001)))
    desk.feed("jsonl", rows(*((n, n / 8) for n in range(last // 30, last + 1, last // 30))))
    assert len(desk.pairs("loss")) == left


def test_a_file_that_counts_epochs_too_is_one_with_those_of_the_log(desk: Desk) -> None:
    desk.feed("jsonl", rows((1, 1.25)))
    desk.feed("stdout", b"".join(b"Epoch %d/4: train_loss=%d.5\n" % (n, n) for n in range(1, 4)))
    desk.feed("jsonl", rows((1, 1.25), (4, 4.25)))
    assert desk.pairs("loss") == [(1, 1.25), (2, 2.5), (3, 3.5), (4, 4.25)]
    assert desk.run.metrics["loss"].source == "jsonl+stdout"


def test_an_interval_among_the_parameters_places_lines_from_the_first(desk: Desk) -> None:
    desk.put(params={"logging_steps": 5, "max_steps": 40})
    log = (DATA / "hf_trainer_plain.log").read_bytes()
    desk.feed("stdout", log[:300])
    assert desk.pairs("loss")[0][0] == 5
    assert desk.run.progress.total == 40


def test_a_resume_supersedes_from_its_first_step_and_the_seam_stays(desk: Desk) -> None:
    desk.feed("metrics", rows(*((n, 10.0 + n) for n in range(1, 9))))
    desk.retry(1)
    desk.feed("metrics", rows((6, 1.0), (7, 2.0)), attempt=1)
    points = desk.points("loss")
    assert list(points.steps) == [1, 2, 3, 4, 5, 6, 7]
    assert list(points.values)[-3:] == [15.0, 1.0, 2.0]
    assert points.seams == ((0, 0), (5, 1))


@pytest.mark.parametrize(
    "line",
    [
        "Epoch {epoch}:  50%|#  | {step}/4 [00:01<00:01, 2.0it/s, loss=0.5]",
        "Epoch: [{epoch}][{step}/4] Loss 0.5",
        "epoch {epoch} step {step} loss 0.5",
    ],
)
def test_an_attempt_goes_on_at_the_epoch_whose_number_is_known_from_before(
    desk: Desk, line: str
) -> None:
    def log(*epochs: int) -> bytes:
        lines = [line.format(epoch=epoch, step=step) for epoch in epochs for step in range(4)]
        return ("\n".join(lines) + "\n").encode()

    desk.feed("stdout", log(0, 1), final=True)
    desk.retry(1)
    desk.feed("stdout", log(2, 3), attempt=1, final=True)
    assert list(desk.points("loss").steps) == list(range(16))
    desk.retry(2)
    desk.feed("stdout", log(3, 4), attempt=2, final=True)
    assert list(desk.points("loss").steps) == list(range(20))


def test_an_attempt_calls_what_it_measures_as_the_one_before_did(desk: Desk) -> None:
    def log(at: int, of: float) -> bytes:
        lines = f"step {at}: train loss {of + 0.1}, val loss {of + 0.2}\niter {at}: loss {of}\n"
        return (lines + f"step {at + 20}: train loss {of + 0.3}, val loss {of + 0.4}\n").encode()

    desk.feed("stdout", log(0, 4.0), final=True)
    desk.retry(1)
    desk.feed("stdout", log(20, 5.0), attempt=1, final=True)
    assert desk.pairs("loss") == [(0, 4.0), (20, 5.0)]
    assert desk.pairs("train loss") == [(20, 5.1), (40, 5.3)]


@pytest.mark.parametrize("with_log", [True, False])
def test_a_history_that_was_handed_on_does_not_move_the_seam(desk: Desk, with_log: bool) -> None:
    first = [(n, 3.0 / n) for n in range(1, 11)]
    desk.feed("stdout", printed(*first), attempt=0)
    desk.retry(1)
    again = [(n, 5.0 / n) for n in range(7, 13)]
    if with_log:
        desk.feed("stdout", printed(*again), attempt=1)
    history = [*first[:6], *again]
    desk.feed("trainer_state", state(history, max_steps=100), path="/x/state.json", attempt=1)
    points = desk.points("loss")
    assert list(points.steps) == list(range(1, 13))
    assert points.seams == ((0, 0), (6, 1))
    assert points.values[6] == 5.0 / 7


def test_points_that_were_only_counted_take_none_from_a_history(desk: Desk) -> None:
    history = [(n, 40.0 - n) for n in range(5, 35, 5)]
    desk.feed(
        "stdout", b"".join(b"{'loss': '%d', 'epoch': '0.%02d'}\n" % (40 - n, n) for n, _ in history)
    )
    desk.retry(1)
    desk.feed(
        "stdout", b"{'loss': '9', 'epoch': '0.35'}\n{'loss': '8', 'epoch': '0.4'}\n", attempt=1
    )
    history += [(35, 9.0), (40, 8.0)]
    desk.feed("trainer_state", state(history, max_steps=40), path="/x/state.json", attempt=1)
    assert desk.pairs("loss") == history


def test_a_csv_that_was_rewritten_with_a_new_column_is_read_anew(desk: Desk) -> None:
    old = b"step,loss\n1,2.0\n2,1.5\n"
    desk.feed("csv", old)
    desk.feed("csv", old + b"3,1.25\n")
    assert desk.pairs("loss") == [(1, 2.0), (2, 1.5), (3, 1.25)]
    desk.feed("csv", b"step,loss,val_loss\n1,2.0,\n2,1.5,\n3,1.25,\n3,,1.75\n")
    assert desk.pairs("loss") == [(1, 2.0), (2, 1.5), (3, 1.25)]
    assert desk.pairs("eval/loss") == [(3, 1.75)]


def test_a_file_that_was_replaced_is_read_anew(desk: Desk) -> None:
    desk.feed("jsonl", rows((1, 2.0), (2, 1.5)), path="/x/m.jsonl")
    desk.identities["/x/m.jsonl"] = 2
    desk.feed("jsonl", rows((3, 1.0), (4, 0.5), (5, 0.25)), path="/x/m.jsonl")
    assert [step for step, _ in desk.pairs("loss")] == [1, 2, 3, 4, 5]
    desk.feed("jsonl", rows((1, 9.0)), path="/x/m.jsonl")  # cut, then written from the top
    assert desk.pairs("loss")[0] == (1, 9.0)


def test_a_growing_log_enters_each_point_once(desk: Desk) -> None:
    log = printed(*((n, 100.0 / n) for n in range(1, 400)))
    rng = random.Random(7)
    at = 0
    while at < len(log):
        at = min(len(log), at + rng.randint(1, 900))
        desk.feed("stdout", log[:at], most=rng.choice([64, 300, 5000]), final=at == len(log))
    assert [step for step, _ in desk.pairs("loss")] == list(range(1, 400))
    assert desk.run.metrics["loss"].count == 399
    assert desk.run.progress.step == 399 or desk.run.progress.total == 100


def test_the_last_line_counts_once_the_run_is_over(desk: Desk) -> None:
    desk.feed("stdout", b"step 1: loss 2.0\nstep 2: loss 1.0")
    assert desk.pairs("loss") == [(1, 2.0)]
    desk.feed("stdout", b"step 1: loss 2.0\nstep 2: loss 1.0", final=True)
    assert desk.pairs("loss") == [(1, 2.0), (2, 1.0)]


def test_printed_points_get_the_time_their_line_was_written(desk: Desk) -> None:
    asked: list[int] = []

    async def times(offsets: Sequence[int]) -> list[float | None]:
        asked.extend(offsets)
        return [NOW + at if at else None for at in offsets]

    log = printed((1, 2.0), (2, 1.0))
    desk.feed("stdout", log, times=times)
    second = log.index(b"step 2")
    assert asked == [0, second]
    found = desk.points("loss").times
    assert math.isnan(found[0])
    assert found[1] == NOW + second


def test_how_far_a_run_is_is_dated_by_its_last_step_not_by_the_look(desk: Desk) -> None:
    async def times(offsets: Sequence[int]) -> list[float | None]:
        return [desk.now - 300 + at / 100 for at in offsets]

    log = printed((1, 2.0), (2, 1.0))
    desk.feed("stdout", log, times=times)
    assert desk.run.progress.at == desk.now - 300 + log.index(b"step 2") / 100
    more = printed((3, 0.5))
    whole = log + more + b"saving, evaluating, and nothing of steps\n"
    source = Source(path="attempts/0/stdout", kind="stdout", size=len(whole), identity=1)

    async def read(offset: int, size: int) -> bytes:
        return more

    work = ingest(desk.index, desk.run, source, read, attempt=0, now=desk.now, times=times)
    asyncio.run(work)  # type: ignore[arg-type]
    assert desk.run.progress.at == desk.now, "while there is more to read nobody knows"
    desk.feed("stdout", whole, times=times)
    assert desk.run.progress.at == desk.now - 300 + whole.index(b"step 3") / 100


def test_seconds_since_a_programs_start_do_not_date_its_progress(desk: Desk) -> None:
    elapsed = [{"step": n, "time": n / 2, "total_steps": 100} for n in range(1, 8)]
    desk.feed("jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in elapsed))
    assert (desk.run.progress.step, desk.run.progress.at) == (7, desk.now)


def test_a_better_value_without_a_time_keeps_the_time_that_is_known(desk: Desk) -> None:
    async def times(offsets: Sequence[int]) -> list[float | None]:
        return [NOW + at for at in offsets]

    log = printed((1, 2.0), (2, 1.0))
    desk.feed("stdout", log, times=times)
    desk.feed("trainer_state", state([(1, 2.00001), (2, 1.00001), (3, 0.5)]))
    found = desk.points("loss")
    assert list(found.values) == [2.00001, 1.00001, 0.5]
    assert list(found.times)[:2] == [NOW, NOW + log.index(b"step 2")]
    desk.feed("stdout", log + printed((3, 0.5)), times=times)
    assert desk.points("loss").times[2] == NOW + len(log), "and one that comes later is taken up"
    assert desk.run.metrics["loss"].source == "trainer_state"


def test_checkpoints_of_a_trainer_are_marks(desk: Desk) -> None:
    desk.feed(
        "trainer_state",
        state([(10, 1.0), (20, 0.5)]),
        checkpoints=[(10, NOW - 50), (20, NOW - 10)],
    )
    assert [step for step, _ in desk.pairs(CHECKPOINT)] == [10, 20]
    assert list(desk.points(CHECKPOINT).times) == [NOW - 50, NOW - 10]


# ------------------------------------------------------------------------------------- progress


def test_progress_is_told_by_the_best_that_tells_it(desk: Desk) -> None:
    desk.feed("stdout", printed((10, 1.0)))
    assert (desk.run.progress.step, desk.run.progress.total) == (10, 100)
    desk.feed("trainer_state", state([(5, 1.0)], max_steps=200))
    assert (desk.run.progress.step, desk.run.progress.total) == (10, 100), "files lag behind"
    desk.feed("metrics", rows((12, 1.0)) + b'{"__event__": "total_steps", "value": 300}\n')
    assert (desk.run.progress.step, desk.run.progress.total) == (12, 300)
    desk.feed("stdout", printed((10, 1.0), (99, 1.0)))
    assert (desk.run.progress.step, desk.run.progress.total) == (12, 300)


@pytest.mark.parametrize("left", [b"", b"step 60/100: loss 1.0\n", b"no numbers\n"])
def test_a_run_that_is_over_has_no_time_left(desk: Desk, left: bytes) -> None:
    log = b""
    for step in range(1, 51):
        log += b"step %d/100: loss 1.0\n" % step
        desk.now += 10
        desk.feed("stdout", log)
    assert desk.run.progress.eta is not None
    desk.feed("stdout", log + left, final=True)
    assert desk.run.progress.eta is None
    assert (desk.run.progress.step, desk.run.progress.total) == (60 if b"60" in left else 50, 100)


@pytest.mark.parametrize("ends", [b"", b"step 90: loss 1.0\n", b"no numbers\n", b"torn"])
def test_a_step_is_the_last_once_the_log_has_been_read_to_its_end(desk: Desk, ends: bytes) -> None:
    log = printed((10, 1.0), (20, 1.0))
    desk.feed("stdout", log)
    assert desk.run.progress.partial, "it may go on"
    desk.feed("system", b'{"time": 1750000000.0, "cpu_pct": 50.0}\n', final=True)
    desk.feed("csv", b"step,loss\n1,2.0\n", path="/x/metrics.csv", final=True)
    assert desk.run.progress.partial, "they tell no step, or an older one"
    desk.feed("stdout", log + ends, final=True)
    assert desk.run.progress.step == (90 if b"90" in ends else 20)
    assert not desk.run.progress.partial


def test_a_log_that_is_not_read_does_not_make_a_step_of_metrics_jsonl_doubtful(desk: Desk) -> None:
    desk.feed("metrics", rows((10, 1.0)))
    desk.feed("metrics", rows((10, 1.0), (12, 1.0)))
    assert desk.run.progress.partial
    desk.feed("metrics", rows((10, 1.0), (12, 1.0)), final=True)
    desk.feed("stdout", printed((10, 1.0)))
    assert (desk.run.progress.step, desk.run.progress.partial) == (12, False)


def test_what_the_supervisor_samples_is_the_systems(desk: Desk) -> None:
    desk.feed("metrics", rows((1, 1.0)))
    desk.feed("system", b'{"time": 1750000000.0, "cpu_pct": 50.0}\n')
    assert desk.run.metrics["loss"].source == "hook"
    assert desk.run.metrics["system/cpu_pct"].source == "system"


def test_a_file_that_knows_the_total_completes_what_the_log_tells(desk: Desk) -> None:
    desk.feed("stdout", b"step 50: loss 1.0\n")
    assert desk.run.progress.total is None
    desk.feed("trainer_state", state([(40, 1.0)], max_steps=200))
    assert (desk.run.progress.step, desk.run.progress.total) == (50, 200)
    assert desk.run.progress.fraction == 0.25


def test_the_progress_of_an_earlier_attempt_does_not_hold_back_the_next(desk: Desk) -> None:
    desk.feed("tensorboard", (DATA / "trl.tfevents").read_bytes(), path="/x/a.tfevents")
    assert desk.run.progress.step == 30
    desk.now += 500
    desk.retry(1)
    desk.feed("csv", b"step,loss\n1,2.0\n2,1.0\n", path="/x/metrics.csv", attempt=1)
    assert desk.run.progress.step == 2


def test_the_user_says_what_the_main_metric_is(desk: Desk) -> None:
    desk.put(tags={"main": "val_acc"})
    desk.feed("stdout", b"step 1: loss 2.0 val_acc=0.5\n")
    assert desk.run.main == "eval/acc"


# ---------------------------------------------------------------------------- several, and hostile


def test_several_readers_of_one_file_enter_each_point_once(desk: Desk, tmp_path: Path) -> None:
    log = printed(*((n, n / 7) for n in range(1, 3000)))
    source = Source(path="attempts/0/logs/0.log", kind="stdout", size=len(log), identity=1)

    async def read(offset: int, size: int) -> bytes:
        return log[offset : offset + size]

    def reader(seed: int) -> None:
        index = Index.open(tmp_path / "index.db")

        async def work() -> None:
            while True:
                run = index.get(RUN)
                assert run is not None
                most = 3000 + 700 * seed
                await ingest(index, run, source, read, attempt=0, now=NOW, final=True, most=most)
                if json.loads(index.source(RUN, source.path).carry or "{}").get("ended"):
                    return

        asyncio.run(work())
        index.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reader, range(4)))
    assert [step for step, _ in desk.pairs("loss")] == list(range(1, 3000))
    assert desk.run.metrics["loss"].count == 2999


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK - 40])
def test_what_is_left_of_a_run_that_is_over_can_be_seen(desk: Desk, size: int) -> None:
    """Whoever reads may stop after each piece: then the rest is listed, for somebody to read on."""
    log = (b"step 1: loss 2.0\n" * (size // 17 + 1))[-size:]
    source = Source(path="attempts/0/logs/0.log", kind="stdout", size=size, identity=1)

    async def read(offset: int, length: int) -> bytes:
        return log[offset : offset + length]

    async def work() -> list[tuple[bool, bool]]:
        seen, more = [], True
        while more:
            more = await ingest(desk.index, desk.run, source, read, attempt=0, now=NOW, final=True)
            left = desk.index.source(RUN, source.path).offset < size
            seen.append((left, bool(desk.index.unread())))
        return seen

    seen = asyncio.run(work())
    assert all(left == listed for left, listed in seen) and seen[-1] == (False, False)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_are_entered_without_harm(desk: Desk, kind: str) -> None:
    rng = random.Random(11)
    pieces = [rng.randbytes(40), b"step 1 loss nan\n", b'{"step": 1, "loss": 1e999}\n', b"\n" * 9]
    pieces += [b"step,loss\n1,inf\n", b"\x1b[31m" * 50, b"{'loss': '1'}\n", b'{"step": 9e15}\n']
    pieces += [f'{{"step": {n}, "k\\u0000{n}\\ud800": {n}}}\n'.encode() for n in range(20)]
    for round_ in range(20):
        data = b"".join(rng.choices(pieces, k=60))
        desk.identities[f"/x/{kind}"] = round_ + 1
        desk.feed(kind, data, path=f"/x/{kind}", final=rng.random() < 0.5)
    assert len(desk.run.metrics) <= 200


def test_a_script_that_names_each_value_anew_is_bounded(desk: Desk) -> None:
    data = "".join(json.dumps({"step": 1, f"v{n}": n}) + "\n" for n in range(20_000)).encode()
    desk.feed("metrics", data)
    assert len(desk.run.metrics) == 2000


# ------------------------------------------------------------------------------- whose a file is


def test_names_say_what_a_file_is() -> None:
    assert kind_of("events.out.tfevents.1.host.2.0") == "tensorboard"
    assert kind_of("trainer_state.json") == "trainer_state"
    assert kind_of("metrics.csv") == "csv"
    assert kind_of("model.safetensors") is None


def test_files_of_another_time_are_not_a_runs(tmp_path: Path) -> None:
    for name, moment in (("before", NOW - 500), ("during", NOW), ("later", NOW + 5000)):
        path = tmp_path / name / "metrics.csv"
        path.parent.mkdir()
        path.write_text("step,loss\n")
        os.utime(path, (moment, moment))
    found = files_beside([tmp_path], NOW - 100, NOW + 10)
    assert [Path(source.path).parent.name for source in found] == ["during"]
    assert len(files_beside([tmp_path], NOW - 100, NOW + 5000 - AFTERWARDS)) == 2


def test_folders_of_data_do_not_hide_what_a_trainer_writes(tmp_path: Path) -> None:
    events = "runs/exp/deep/events.out.tfevents.1.host"
    for path in (*(f"data/{part}/{n}.jpg" for part in "ab" for n in range(2500)), events):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    for folder in ("data/a", "data/b", "data"):
        os.utime(tmp_path / folder, (NOW - 9000, NOW - 9000))
    (tmp_path / "samples").mkdir()  # and one that the run itself fills
    for n in range(2500):
        (tmp_path / "samples" / f"{n}.png").touch()
    assert [s.path for s in files_beside([tmp_path], 0.0, None)] == [str(tmp_path / events)]


@pytest.mark.parametrize(
    ("files", "of"),
    [
        (("logs/train/a.tfevents", "logs/validation/a.tfevents"), ["", "eval"]),
        (("runs/x/loss_test/a.tfevents", "runs/x/loss_train/a.tfevents"), ["test", ""]),
        (("out/a.tfevents", "out/eval/a.tfevents"), ["", "eval"]),
        (("runs/test/a.tfevents",), [""]),
        (("x/a.tfevents", "x/l_A/b.tfevents", "x/l_B/b.tfevents"), ["", "l_A", "l_B"]),
        (("x/a.tfevents", "x/l_train/b.tfevents", "x/l_val/b.tfevents"), ["", "", "eval"]),
        (("x/a.tfevents", "x/1764.25/b.tfevents"), ["", ""]),
        (("x/l_A/b.tfevents", "x/l_B/b.tfevents"), ["", ""]),
        (("runs/latest/a.tfevents", "runs/x/a.tfevents"), ["", ""]),
        (("train/metrics.csv", "test/a.tfevents"), ["", ""]),
    ],
)
def test_a_folder_beside_the_training_s_says_what_was_evaluated(
    tmp_path: Path, files: Sequence[str], of: list[str]
) -> None:
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert [source.of for source in files_beside([tmp_path], 0.0, None)] == of


def test_what_a_folder_holds_of_evaluations_is_not_the_training_s(desk: Desk) -> None:
    desk.feed("tensorboard", scalar("epoch_loss", 1, 0.5), path="/x/train/a.tfevents")
    desk.feed("tensorboard", scalar("epoch_loss", 1, 4.0), path="/x/val/a.tfevents", of="eval")
    assert desk.run.metrics["epoch_loss"].last == 0.5
    assert desk.run.metrics["eval/epoch_loss"].last == 4.0


def test_hidden_folders_links_and_endless_trees_are_not_searched(tmp_path: Path) -> None:
    for name in (".traindeck", "venv", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text("step,loss\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "alias.csv").symlink_to("/etc/passwd")
    many = tmp_path / "zz"
    many.mkdir()
    found = files_beside([tmp_path], 0.0, None)
    assert [source.path for source in found] == [str(tmp_path / "out" / "metrics.csv")]


def beside(path: str) -> Source:
    return Source(path=path, kind="tensorboard", size=1, identity=7)


@pytest.fixture
def neighbour(desk: Desk) -> RunRecord:
    """Another run in the same folder at the same time."""
    desk.put(cwd="/home/u/p", params={"output_dir": "out/a"})
    other = replace(
        desk.run,
        id="b123456789ab",
        name="b",
        params={"output_dir": "out/b"},
        metrics={},
        started=desk.started + 10,
    )
    desk.index.put(other)
    return other


def test_of_two_runs_at_once_each_gets_the_files_its_parameters_name(
    desk: Desk, neighbour: RunRecord
) -> None:
    files = [beside(f"/home/u/p/{name}/tfevents") for name in ("out/a", "out/b", "runs")]
    mine = own_files(desk.index, desk.run, files, desk.started, None, NOW)
    theirs = own_files(desk.index, neighbour, files, desk.started + 10, None, NOW)
    assert [s.path for s in mine] == ["/home/u/p/out/a/tfevents"]
    assert [s.path for s in theirs] == ["/home/u/p/out/b/tfevents"]


def test_a_run_alone_gets_all_that_is_new(desk: Desk) -> None:
    desk.put(cwd="/home/u/p")
    files = [beside("/home/u/p/runs/tfevents")]
    assert own_files(desk.index, desk.run, files, desk.started, None, NOW) == files


def test_runs_in_other_folders_or_at_other_times_do_not_matter(
    desk: Desk, neighbour: RunRecord
) -> None:
    files = [beside("/home/u/p/runs/tfevents")]
    desk.index.put(replace(neighbour, cwd="/home/u/other"))
    assert own_files(desk.index, desk.run, files, desk.started, None, NOW) == files


def test_a_run_that_waited_for_another_claims_nothing_that_was_written_before_it_started(
    desk: Desk, neighbour: RunRecord
) -> None:
    started = neighbour.started or 0.0
    before = replace(beside("/home/u/p/runs/tfevents"), written=started - 1)
    after = replace(before, written=started + 1)
    assert own_files(desk.index, desk.run, [before], desk.started, None, NOW) == [before]
    assert own_files(desk.index, desk.run, [after], desk.started, None, NOW) == []
    desk.index.put(replace(neighbour, id="c123456789ab", name="c", attempt=1))
    assert own_files(desk.index, desk.run, [before], desk.started, None, NOW) == []


def test_who_works_nearest_to_a_file_has_it(desk: Desk, neighbour: RunRecord) -> None:
    """A shell that was adopted in a folder above takes nothing away."""
    wide = replace(neighbour, cwd="/home/u", params={})
    desk.index.put(wide)
    files = [beside("/home/u/p/runs/tfevents"), beside("/home/u/elsewhere/tfevents")]
    mine = own_files(desk.index, desk.run, files[:1], desk.started, None, NOW)
    theirs = own_files(desk.index, wide, files, desk.started + 10, None, NOW)
    assert (mine, theirs) == (files[:1], files[1:])


def test_no_metrics_says_where_was_looked(desk: Desk) -> None:
    desk.put(cwd="/home/u/p")
    said = looked_for(desk.run)
    assert "/home/u/p" in said
    assert "TensorBoard" in said
    heads = {
        state: looked_for(replace(desk.run, state=state)).split(":")[:2]
        for state in (State.QUEUED, State.RUNNING, State.FAILED)
    }
    assert heads[State.QUEUED] == ["No metrics yet", " it has not started. Looked for then"]
    assert heads[State.RUNNING][0] == "No metrics yet. Looked for"
    assert heads[State.FAILED][0] == "No metrics. Looked for"


@pytest.mark.parametrize("length", [300_000, 1_500_000, 9_000_000])
@pytest.mark.parametrize("kind", ["stdout", "metrics"])
def test_a_record_that_is_longer_than_a_read_stops_nothing(
    desk: Desk, kind: str, length: int
) -> None:
    made = printed if kind == "stdout" else rows
    long = b"x" * length + b"\n"
    desk.feed(kind, made((1, 0.5)) + long + made((2, 0.25), (3, 0.125)), final=True)
    assert desk.pairs("loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_a_picture_among_events_stops_nothing(desk: Desk) -> None:
    data = scalar("loss", 1, 0.5, NOW) + record(b"\x00" * 400_000) + scalar("loss", 2, 0.25, NOW)
    desk.feed("tensorboard", data, final=True)
    assert desk.pairs("loss") == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("metrics.jsonl", "jsonl"), ("log.jsonl", "jsonl"), ("train_log.jsonl", "jsonl"),
        ("trainer_log.jsonl", "jsonl"), ("history.jsonl", "jsonl"), ("train.jsonl", None),
        ("chats.jsonl", None), ("metrics.csv", "csv"), ("trainer_state.json", "trainer_state"),
        ("events.out.tfevents.1.host", "tensorboard"), ("my_metrics.jsonl", None),
        ("results.csv", "csv"), ("progress.csv", "csv"), ("summary.csv", "csv"),
        ("train.csv", None), ("results.jsonl", None),
    ],
)  # fmt: skip
def test_files_are_known_by_their_names(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind
