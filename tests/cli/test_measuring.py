"""From what a script prints to what tables show, through the real command."""

from __future__ import annotations

import json
import sys
import time

from .conftest import Cli


def test_a_script_that_prints_losses_has_progress_and_a_curve(cli: Cli) -> None:
    program = "for i in range(1, 51): print(f'step {i}/50: loss {3 / i:.4f} lr=1e-3', flush=True)"
    run = cli.run(sys.executable, "-c", program, options=("--name", "curve"))
    cli("wait", run)
    table = cli.ok("ls")
    assert "100 %" in table
    assert "0.0600" in table
    assert "loss" in cli.ok("metrics", run)
    chart = cli.ok("metrics", run, "loss", "--chart")
    assert "50 of 50 points" in chart
    lines = cli.ok("metrics", run, "loss", "--csv").splitlines()
    assert len(lines) == 51
    assert lines[1].startswith("loss,1,")
    assert lines[1].endswith(",3.0,stdout")


def test_the_channel_of_trainers_wins_over_what_is_printed(cli: Cli) -> None:
    program = (
        "import json, os, time\n"
        "with open(os.environ['TRAINDECK_METRICS'], 'a') as out:\n"
        "    print(json.dumps({'__event__': 'total_steps', 'value': 3}), file=out)\n"
        "    for i in (1, 2, 3):\n"
        "        row = {'step': i, 'time': time.time(), 'loss': 1 / i}\n"
        "        print(json.dumps(row), file=out)\n"
        "        print(f'step {i} loss {1 / i:.2f}')\n"
    )
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    points = cli.json("metrics", "--json", run, "loss")["loss"]
    assert points["steps"] == [1, 2, 3]
    assert points["values"][2] == 1 / 3
    assert set(points["sources"]) == {"hook"}
    assert cli.json("show", "--json", run)["progress"]["total"] == 3


def test_a_retry_continues_the_series_and_supersedes_from_its_first_step(cli: Cli) -> None:
    marker = cli.cwd / "marker"
    program = (
        "import os, sys\n"
        f"again = os.path.exists({str(marker)!r})\n"
        f"open({str(marker)!r}, 'w').close()\n"
        "for i in (range(3, 6) if again else range(1, 5)):\n"
        "    print(f'step {i} loss {i if again else i * 10}')\n"
        "sys.exit(0 if again else 1)\n"
    )
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    cli.ok("retry", "-q", run)
    cli("wait", run)
    points = cli.json("metrics", "--json", run, "loss")["loss"]
    assert points["steps"] == [1, 2, 3, 4, 5]
    assert points["values"] == [10, 20, 3, 4, 5]


def test_an_attempt_alone_stands_at_its_steps_in_the_whole(cli: Cli) -> None:
    marker = cli.cwd / "marker"
    program = (
        "import os, sys\n"
        f"again = os.path.exists({str(marker)!r})\n"
        f"open({str(marker)!r}, 'w').close()\n"
        "for epoch in ((3, 4) if again else (1, 2)):\n"
        "    for i in range(4): print(f'epoch {epoch} step {i} loss {epoch}.{i}', flush=True)\n"
        "sys.exit(0 if again else 1)\n"
    )
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    cli.ok("retry", "-q", run)
    cli("wait", run)
    assert cli.json("metrics", run, "loss", "--json")["loss"]["steps"] == list(range(16))
    alone = cli.json("metrics", run, "loss", "--attempt", "1", "--json")["loss"]
    assert alone["steps"] == list(range(8, 16))


def test_each_attempt_keeps_its_own_metrics_and_its_own_reason(cli: Cli) -> None:
    marker = cli.cwd / "marker"
    program = (
        "import os\n"
        f"again = os.path.exists({str(marker)!r})\n"
        f"open({str(marker)!r}, 'w').close()\n"
        "for i in (range(2, 5) if again else range(1, 4)):\n"
        "    print(f'step {i} loss {i if again else i * 10}', flush=True)\n"
        "raise RuntimeError('the second') if again else KeyError('labels')\n"
    )
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    cli.ok("retry", "-q", run)
    cli("wait", run)
    first = cli.json("metrics", run, "loss", "--attempt", "0", "--json")["loss"]
    assert (first["steps"], first["values"]) == ([1, 2, 3], [10, 20, 30])
    second = cli.json("metrics", run, "loss", "--attempt", "1", "--json")["loss"]
    assert (second["steps"], second["values"]) == ([2, 3, 4], [2, 3, 4])
    assert len(cli.ok("metrics", run, "loss", "--attempt", "0", "--csv").splitlines()) == 4
    assert "3 of 3 points" in cli.ok("metrics", run, "loss", "--attempt", "0", "--chart")
    refused = cli("metrics", run, "--attempt", "2")
    assert refused.returncode == 2 and "has attempts 0 to 1" in refused.stderr
    tried = cli.json("show", "--json", run)["attempts"]
    assert [one["attempt"] for one in tried] == [0, 1]
    assert "the key labels is missing" in tried[0]["reason"]
    assert "RuntimeError: the second" in tried[1]["reason"]
    card = cli.ok("show", run)
    assert "the key labels is missing" in card.split("before", 1)[1].splitlines()[0]


def test_files_of_a_trainer_are_found_below_the_working_directory(cli: Cli) -> None:
    state = {
        "global_step": 2,
        "max_steps": 4,
        "log_history": [{"step": 1, "loss": 0.123456789}, {"step": 2, "eval_loss": 0.25}],
    }
    program = (
        "import os\n"
        "os.makedirs('out/checkpoint-2')\n"
        f"open('out/checkpoint-2/trainer_state.json', 'w').write({json.dumps(state)!r})\n"
    )
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    shown = cli.json("show", "--json", run)
    assert shown["metrics"]["loss"]["last"] == 0.123456789
    assert shown["metrics"]["loss"]["source"] == "trainer_state"
    assert shown["metrics"]["eval/loss"]["last"] == 0.25
    assert shown["progress"]["total"] == 4


def test_no_metrics_says_what_was_looked_for(cli: Cli) -> None:
    run = cli.run("true")
    cli("wait", run)
    said = cli.ok("metrics", run)
    assert "Looked for" in said or "system/" in said


def test_two_runs_are_not_taken_for_a_run_and_its_metric(cli: Cli) -> None:
    one, other = cli.run("true"), cli.run("true", options=("--name", "calm-fox"))
    for name in (other, "calm-fox"):
        done = cli("metrics", one, name)
        assert done.returncode == 2
        assert f"{name} is a run, and this takes one run" in done.stderr


def test_a_rebuilt_index_has_the_same_metrics(cli: Cli) -> None:
    program = "for i in range(1, 6): print(f'step {i} loss {1 / i}')"
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    before = cli.json("metrics", "--json", run, "loss")
    cli.ok("reindex")
    assert cli.json("metrics", "--json", run, "loss") == before


def test_where_an_attempt_came_to_is_not_where_the_next_one_failed(cli: Cli) -> None:
    program = (
        "import os, sys\n"
        "if os.path.exists(sys.argv[1]): sys.exit(int(sys.argv[2]))\n"
        "open(sys.argv[1], 'w').close()\n"
        "for i in range(1, 5): print(f'step {i}/10 loss {1 / i}')\n"
        "sys.exit(1)\n"
    )
    runs = {
        code: cli.run(
            *(sys.executable, "-c", program, f"marker-{code}", code), options=("--retries", "1")
        )
        for code in ("2", "0")
    }
    cli("wait", *runs.values())
    for how in ("seen", "rebuilt"):
        if how == "rebuilt":
            cli.ok("reindex")
        failed, ended_well = (cli.json("show", "--json", runs[code]) for code in ("2", "0"))
        assert (failed["attempt"], failed["exit_code"]) == (1, 2)
        assert (failed["progress"]["step"], failed["progress"]["total"]) == (None, 10), how
        assert (ended_well["progress"]["step"], ended_well["progress"]["total"]) == (4, 10), how
        assert failed["metrics"]["loss"]["count"] == 4


def test_files_of_an_attempt_that_nobody_saw_working_are_read_too(cli: Cli) -> None:
    program = (
        "import os, sys\n"
        "last = os.path.exists('0')\n"
        "os.makedirs(name := str(int(last)))\n"
        "steps = range(4, 7) if last else range(1, 6)\n"
        "lines = [f'{n},{n + 10 * last}\\n' for n in steps]\n"
        "open(name + '/metrics.csv', 'w').write('step,loss\\n' + ''.join(lines))\n"
        "sys.exit(not last)\n"
    )
    run = cli.run(sys.executable, "-c", program, options=("--retries", "1"))
    cli("wait", run)
    for how in ("seen", "rebuilt"):
        if how == "rebuilt":
            cli.ok("reindex")
        loss = cli.json("metrics", "--json", run)["loss"]
        assert dict(zip(loss["steps"], loss["values"], strict=True)) == {
            **{n: n for n in range(1, 4)},
            **{n: n + 10 for n in range(4, 7)},
        }, how


def test_two_runs_at_once_in_one_folder_do_not_get_each_others_files(cli: Cli) -> None:
    program = (
        "import os, sys, time\n"
        "out = sys.argv[2]\n"
        "os.makedirs(out)\n"
        "open(out + '/metrics.csv', 'w').write(f'step,loss\\n1,{sys.argv[4]}\\n')\n"
        "open('shared-metrics', 'w').close()\n"
        "time.sleep(2.5)\n"
    )
    script = cli.cwd / "train.py"
    script.write_text(program)
    first = cli.run(sys.executable, "train.py", "--out", "out/a", "--loss", "1.5")
    second = cli.run(sys.executable, "train.py", "--out", "out/b", "--loss", "2.5")
    cli("wait", first, second)
    assert cli.json("metrics", "--json", first, "loss")["loss"]["values"] == [1.5]
    assert cli.json("metrics", "--json", second, "loss")["loss"]["values"] == [2.5]
    cli.ok("reindex")
    assert cli.json("metrics", "--json", first, "loss")["loss"]["values"] == [1.5]
    assert cli.json("metrics", "--json", second, "loss")["loss"]["values"] == [2.5]


def test_a_run_that_is_retried_later_takes_nothing_of_what_ran_in_between(cli: Cli) -> None:
    writes = "open('metrics.csv', 'w').write('step,loss\\n1,2.5\\n')"
    first = cli.run("false")
    cli("wait", first)
    second = cli.run(sys.executable, "-c", writes)
    cli("wait", second)
    cli.ok("retry", "-q", first)
    cli("wait", first)
    before = cli.json("metrics", "--json", second)
    assert before["loss"]["values"] == [2.5]
    for keep in ((), ("rm", "-y", "--keep-artifacts", first)):
        if keep:
            cli.ok(*keep)
        cli.ok("reindex")
        assert cli.json("metrics", "--json", second) == before
        assert cli.json("show", "--json", first)["metrics"].get("loss") is None


def test_an_archived_neighbours_files_stay_its_own(cli: Cli) -> None:
    writes = "import time\nopen('metrics.csv', 'w').write('step,loss\\n1,2.5\\n')\ntime.sleep(2)"
    first = cli.run("sleep", "3")
    second = cli.run(sys.executable, "-c", writes)
    cli("wait", first, second)
    cli.ok("rm", "-y", "--keep-artifacts", second)
    cli.ok("reindex")
    assert "loss" not in cli.json("show", "--json", first)["metrics"]
    assert "metrics.csv not read: another run worked in" in cli("metrics", first).stderr
    assert "metrics         none   metrics.csv not read: another" in cli.ok("show", first)


def test_a_shared_folder_is_no_word_to_runs_that_print_their_metrics(cli: Cli) -> None:
    """Which of them wrote the file nothing says; none of them lacks it."""
    program = (
        "import time\n"
        "open('metrics.jsonl', 'a').write('{\"step\": 1, \"loss\": 2.5}\\n')\n"
        "print('step 1 loss 1.5', flush=True)\n"
        "time.sleep(2)\n"
    )
    runs = [cli.run(sys.executable, "-c", program) for _ in range(2)]
    cli("wait", *runs)
    for run in runs:
        assert cli("metrics", run).stderr == ""
        assert "not read" not in cli.ok("show", run)


def test_a_later_run_in_the_same_folder_leaves_an_earlier_ones_metrics_alone(cli: Cli) -> None:
    program = "open('metrics.csv', 'w').write('step,loss\\n1,{}\\n')"
    first = cli.run(sys.executable, "-c", program.format(1.5))
    cli("wait", first)
    assert cli.json("metrics", "--json", first, "loss")["loss"]["values"] == [1.5]
    second = cli.run(sys.executable, "-c", program.format(2.5))
    cli("wait", second)
    assert cli.json("metrics", "--json", second, "loss")["loss"]["values"] == [2.5]
    assert cli.json("metrics", "--json", first, "loss")["loss"]["values"] == [1.5]


def test_metrics_without_bars_get_their_steps_when_the_trainer_ends(cli: Cli) -> None:
    program = (
        "for n in range(1, 9):\n"
        "    print({'loss': f'{4 / n:.4g}', 'epoch': f'{n / 4:.4g}'}, flush=True)\n"
        "print({'train_runtime': '7.428', 'train_steps_per_second': '5.385', "
        "'train_loss': '2.1', 'epoch': '2'})\n"
    )
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    points = cli.json("metrics", "--json", run, "loss")["loss"]
    assert points["steps"] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert set(points["sources"]) == {"stdout"}


def test_what_is_printed_of_an_epoch_is_from_the_log(cli: Cli) -> None:
    run = cli.run("sh", "-c", "for n in 1 2 3; do echo Epoch $n/3: train_loss=$n.5; done")
    cli("wait", run)
    points = cli.json("metrics", "--json", run, "loss")["loss"]
    assert (points["steps"], points["sources"]) == ([1, 2, 3], ["stdout"] * 3)
    assert ",1.5,stdout\n" in cli.ok("metrics", "--csv", run, "loss")
    assert cli.json("show", "--json", run)["metrics"]["loss"]["source"] == "stdout"


def test_a_count_from_zero_that_succeeded_is_done(cli: Cli) -> None:
    counts = "for n in range(60): print(f'step {n}/60 loss {3 - n / 60:.3f}')"
    run = cli.run(sys.executable, "-c", counts)
    cli("wait", run)
    assert cli.json("show", "--json", run)["progress"]["fraction"] == 1
    assert cli.json("ls", "--json")[0]["progress"]["step"] == 59
    failed = cli.run(sys.executable, "-c", f"{counts}\nraise SystemExit(1)")
    cli("wait", failed)
    assert cli.json("show", "--json", failed)["progress"]["fraction"] < 1


def test_what_is_over_by_the_first_look_is_measured_by_the_next(cli: Cli) -> None:
    cli.run("sh", "-c", "echo step=1 loss=2.5; echo step=2 loss=1.5")
    deadline = time.monotonic() + 20
    while (row := cli.json("ls", "--json")[0])["state"] != "succeeded":
        assert time.monotonic() < deadline, row
    assert row["metrics"]["loss"]["last"] == 1.5
