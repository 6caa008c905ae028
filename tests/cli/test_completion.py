"""What the shell is offered."""

from __future__ import annotations

from traindeck.backends.base import State
from traindeck.console.runs.filters import KEYS
from traindeck.console.store.filtering import MARKS
from traindeck.console.store.ids import mint_id
from traindeck.console.store.index import Index
from traindeck.console.store.places import find_places
from traindeck.console.store.records import RunRecord

from .conftest import Cli


def completed(cli: Cli, *words: str) -> list[str]:
    """What the shell is offered for the last of these words."""
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    return cli.ok(env={**asked, "_TRAINDECK_COMPLETE": "complete_bash"}).split()


def test_the_shell_completes_commands_runs_backends_and_recipes(cli: Cli) -> None:
    run = cli.run("true", options=("--name", "calm-fox"))
    evil = cli.run("true", options=("--name", "$(touch pwned)"))
    assert completed(cli, "traindeck", "st") == ["stop"]
    assert {"run", "ls", "demo"} <= set(completed(cli, "traindeck", ""))
    assert completed(cli, "traindeck", "show", "calm") == ["calm-fox"]
    assert "calm-fox" in completed(cli, "traindeck", "logs", "")
    assert completed(cli, "traindeck", "logs", run[:10]) != []
    assert not any("pwned" in word for word in completed(cli, "traindeck", "logs", ""))
    assert completed(cli, "traindeck", "show", "$") == []
    assert completed(cli, "traindeck", "show", evil[:11]) != []
    assert "--on-exit" in completed(cli, "traindeck", "run", "--on")
    assert completed(cli, "traindeck", "run", "--on", "lo") == ["local"]
    assert completed(cli, "traindeck", "finetune", "s") == ["sft"]


def test_the_shell_completes_what_a_run_and_a_recipe_have(cli: Cli) -> None:
    program = "for i in range(3): print(f'step {i}: loss {i} lr 0.1')"
    run = cli.run("python3", "-c", program, options=("--name", "fox", "--tag", "draft"))
    twins = [cli.run("true", options=("--name", "twin")) for _ in range(2)]
    on = cli.run("sleep", "60", options=("--name", "on"))
    cli("wait", run, *twins)
    cli.ok("metrics", run)
    assert completed(cli, "traindeck", "metrics", "fox", "l") == ["loss", "lr"]
    assert completed(cli, "traindeck", "metrics", "fox", "loss", "lr", "los") == ["loss"]
    assert completed(cli, "traindeck", "metrics", "nosuch", "l") == []
    assert completed(cli, "traindeck", "tag", "fox", "--remove", "") == ["draft"]
    removable = completed(cli, "traindeck", "rm", "")
    assert {"fox", *twins} == set(removable) and "on" not in removable
    assert completed(cli, "traindeck", "rm", on) == []
    assert completed(cli, "traindeck", "rm", twins[0][:11]) != []
    assert set(completed(cli, "traindeck", "finetune", "sft", "--set", "lora_r")) == {"lora_rank="}
    assert "schedule=" in completed(cli, "traindeck", "finetune", "sft", "--set", "")
    assert completed(cli, "traindeck", "finetune", "nosuch", "--set", "l") == []
    for command in ("run", "finetune"):
        assert completed(cli, "traindeck", command, "--like", "fo") == ["fox"]
    assert completed(cli, "traindeck", "finetune", "--like", "fox", "--set", "l") == []
    tune = ("finetune", "sft", "-q", "--name", "tune", "--python", "/bin/true")
    cli.ok(*tune, "--set=model=.", "--set=data=.")
    like = ("traindeck", "finetune", "--like", "tune", "--set", "lora_r")
    assert set(completed(cli, *like)) == {"lora_rank="}


def test_the_shell_completes_the_options_of_a_place_and_what_they_can_be_there(
    cli: Cli,
) -> None:
    cli.ok("backends", "add", "slurm", "lab", "--local")
    option = ("traindeck", "run", "--on", "lab", "--option")
    assert set(completed(cli, *option, "re")) == {"reservation=", "requeue="}
    assert completed(cli, *option, "requeue=y") == ["requeue=yes"]
    assert completed(cli, *option, "account=") == []  # it has not been asked
    folder = find_places(cli.environ).offers
    folder.mkdir(parents=True)
    (folder / "lab.json").write_text('{"account": ["ml", "vision", "$(x)"]}')
    assert set(completed(cli, *option, "account=")) == {"account=ml", "account=vision"}
    assert completed(cli, *option, "account=v") == ["account=vision"]
    assert completed(cli, "traindeck", "run", "--option", "acc") == []


def test_the_shell_is_offered_the_runs_that_a_command_takes(cli: Cli) -> None:
    done = cli.run("true", options=("--name", "done"))
    bad = cli.run("false", options=("--name", "bad"))
    cli.run("sleep", "60", options=("--name", "on"))
    gone = cli.run("true", options=("--name", "gone"))
    cli("wait", done, bad, gone)
    cli.ok("rm", "-y", "--keep-artifacts", "gone")
    takes = {
        ("stop",): {"on"},
        ("wait",): {"on"},
        ("retry",): {"done", "bad"},
        ("rm",): {"done", "bad", "gone"},
        ("show",): {"done", "bad", "gone", "on"},
        ("logs",): {"done", "bad", "gone", "on"},
        ("run", "--after"): {"done", "on"},
        ("run", "--after-any"): {"done", "bad", "on"},
    }
    for words, runs in takes.items():
        assert set(completed(cli, "traindeck", *words, "")) == runs, words
    assert completed(cli, "traindeck", "run", "--after", "done,o") == ["done,on"]


def test_a_run_that_goes_on_is_offered_however_many_came_after_it(cli: Cli) -> None:
    cli.run("sleep", "60", options=("--name", "old"))
    state = State.SUCCEEDED
    later = (RunRecord(id=mint_id(), name="new", state=state, created=4e9) for _ in range(501))
    index = Index.open(cli.home / ".local" / "state" / "traindeck" / "index.db")
    index.put_many(later)
    index.close()
    assert completed(cli, "traindeck", "stop", "o") == ["old"]
    cli.ok("stop", "-q", "old")


def test_bash_completes_a_name_with_a_space(cli: Cli) -> None:
    run = cli.run("true", options=("--name", "space run"))
    cli("wait", run)
    for begun in ("sp", "space\\ ", "space\\ r"):
        asked = {"COMP_WORDS": f"traindeck\nshow\n{begun}", "COMP_CWORD": "2"}
        offered = cli.ok(env={**asked, "_TRAINDECK_COMPLETE": "complete_bash"})
        assert offered.strip() == "space\\ run"
    assert completed(cli, "traindeck", "rm", "sp") == ["space\\", "run"]
    assert completed(cli, "traindeck", "show", '"sp') == []


def test_the_shell_completes_filters(cli: Cli) -> None:
    assert {"state:", "tag:", "sort:"} <= set(completed(cli, "traindeck", "ls", ""))
    assert completed(cli, "traindeck", "ls", "ho") == ["host:"]
    assert "state:running" in completed(cli, "traindeck", "ls", "sta")
    assert completed(cli, "traindeck", "ls", "-a", "tag:x", "state:f") == ["state:failed"]
    assert completed(cli, "traindeck", "ls", "state:lost,f") == ["state:lost,failed"]
    assert completed(cli, "traindeck", "ls", "is:ne") == ["is:needs-you"]
    assert completed(cli, "traindeck", "ls", "nosuch:f") == []
    # as bash cuts it
    assert "failed" in completed(cli, "traindeck", "ls", "state", ":")
    assert completed(cli, "traindeck", "ls", "x", "state", ":", "f") == ["failed"]


def test_help_behind_a_recipe_lists_its_parameters(cli: Cli) -> None:
    parameters = cli.ok("finetune", "sft", "--parameters")
    for words in (("sft", "--help"), ("-h", "sft"), ("--set", "lr=1", "sft", "-h")):
        shown = cli.ok("finetune", *words)
        assert shown.startswith("Usage: traindeck finetune") and shown.endswith(parameters)
    assert "traindeck finetune RECIPE --help" in cli.ok("finetune", "--help")
    assert "no recipe nosuch" in cli.ok("finetune", "nosuch", "--help")


def test_help_of_ls_names_all_that_a_filter_takes(cli: Cli) -> None:
    said = cli.ok("ls", "--help").replace("\n", " ")
    for word in (*KEYS, *MARKS):
        assert f" {word}," in said or f" {word}." in said, word
