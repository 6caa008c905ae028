"""Values that are not validated by typer are what typer would have made of them."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import typer

from traindeck.console.cli.command import Command


def result(cls: type | None, argv: list[str]) -> Any:
    """What a command is called with, or what is said against it."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command(cls=cls)
    def _take(
        words: Annotated[list[str] | None, typer.Argument()] = None,
        name: Annotated[str | None, typer.Option("--name")] = None,
        gpus: Annotated[int | None, typer.Option("--gpus")] = None,
        rate: Annotated[float, typer.Option("--rate")] = 0.5,
        tags: Annotated[list[str] | None, typer.Option("--tag")] = None,
        dry: Annotated[bool, typer.Option("--dry")] = False,
        mouse: Annotated[bool | None, typer.Option("--mouse/--no-mouse")] = None,
    ) -> tuple[Any, ...]:
        return words, name, gpus, rate, tags, dry, mouse

    try:
        return app(argv, standalone_mode=False)
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["a", "b"],
        ["", "-1"],
        ["--", "--gpus", "--name"],
        ["--name", ""],
        ["--name", "\udcff\x1b[2J ünï"],
        ["--gpus", "0"],
        ["--gpus", "007"],
        ["--gpus", "-3"],
        ["--gpus", "+3"],
        ["--gpus", " 3"],
        ["--gpus", "1_000"],
        ["--gpus", "3.0"],
        ["--gpus", "3.5"],
        ["--gpus", "٣"],
        ["--gpus", "banana"],
        ["--gpus", ""],
        ["--gpus", "9" * 18],
        ["--gpus", "9" * 19],
        ["--gpus", "9" * 5000],
        ["--rate", "1e-3"],
        ["--rate", "3"],
        ["--rate", "nan"],
        ["--rate", "fast"],
        ["--tag", "x", "--tag", "y=1"],
        ["--tag", ""],
        ["--dry"],
        ["--dry", "--no-mouse"],
        ["--mouse"],
        ["--unknown"],
        ["--gpus"],
    ],
    ids=lambda argv: " ".join(argv)[:20].encode("ascii", "backslashreplace").decode(),
)
def test_a_command_is_called_with_what_typer_would_call_it_with(argv: list[str]) -> None:
    ours, theirs = result(Command, argv), result(None, argv)
    assert repr(ours) == repr(theirs)
    assert [type(value) for value in ours] == [type(value) for value in theirs]
