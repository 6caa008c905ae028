"""Fixtures for every test: a home of its own, so that no test sees or leaves a user's files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.leftovers import forget_locks

# How long an example takes says how busy the machine is.
settings.register_profile("traindeck", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("traindeck")

# In the background of a shell, or under nohup, they are ignored, also by all that is started here.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CI", "SOAK")

_LONG = (
    "faults/test_agent_killed", "slurm/test_batch", "terminal/test_on_screen_terminal",
    "trainers/test_demo_runs", "slurm/test_nodes", "faults/test_agent_syscalls",
    "faults/test_console_killed", "trainers/test_sft_runs", "terminal/test_run_log_terminal",
    "faults/test_link_cut_ssh", "conformance/test_submission", "slurm/test_backend",
)  # fmt: skip
"""Files of tests that take three quarters of a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first: else the others are done, and all wait for the last of them."""
    rank = {name: number for number, name in enumerate(_LONG)}
    top = Path(__file__).parent
    items.sort(
        key=lambda item: rank.get(
            str(item.path.with_suffix("").relative_to(top)) if top in item.path.parents else "",
            len(rank),
        )
    )


@pytest.fixture(scope="session", autouse=True)
def locks_are_left_as_they_were(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """At the end, remove the locks of the runs that the tests have made."""
    yield
    forget_locks(tmp_path_factory.getbasetemp())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty HOME, with the environment cut down to what a login would have."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(("PYTEST", "COV")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USER", os.environ.get("USER", "tester"))
    monkeypatch.setenv("TERM", "xterm-256color")
    return folder


@pytest.fixture
def upgrade(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Call it, and Traindeck is a later version until the test is over."""
    from tests.fakes.upgrade import upgraded

    with ExitStack() as stack:
        yield lambda: stack.enter_context(upgraded(tmp_path))
