"""The agent is one file, the same everywhere, for any Python from 3.6 up."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.payload.harness import Agent

from traindeck.backends.payload import build


def test_the_same_tree_gives_the_same_bytes() -> None:
    program = "import sys; from traindeck.backends.payload.build import *; "
    program += "sys.stdout.buffer.write(agent_source())"
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, env=env, check=True)
    assert made.stdout == build.agent_source()


def test_its_version_is_that_of_its_bytes() -> None:
    digest = hashlib.sha256(build.agent_source()).hexdigest()
    assert build.agent_version() == digest[:16]
    assert build.agent_name() == f"agent-{digest[:16]}.py"


def test_every_line_of_every_module_is_in_it() -> None:
    built = build.agent_source().decode().splitlines()
    for path in build.SOURCES.glob("*.py"):
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
        shown = lines if path.stem == build.HEAD else [f"#: {line}" for line in lines]
        assert set(shown) <= set(built), path.name


@pytest.mark.parametrize("path", sorted(build.SOURCES.rglob("*.py")), ids=lambda path: path.stem)
def test_its_syntax_is_that_of_python_3_6(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), feature_version=(3, 6))


def test_the_built_file_is_python_3_6_as_a_whole() -> None:
    ast.parse(build.agent_source(), feature_version=(3, 6))


def imported(folder: Path) -> set[str]:
    """The packages that a folder's modules import."""
    names = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names


def test_it_imports_nothing_but_the_standard_library() -> None:
    assert imported(build.SOURCES) - {"traindeck_agent"} <= set(sys.stdlib_module_names)


def test_trainers_import_nothing_of_traindeck() -> None:
    names = imported(build.SOURCES.parent / "trainers")
    assert "json" in names and "traindeck" not in names


HEAVY = {
    *("json", "re", "enum", "signal", "ctypes", "subprocess", "threading", "hashlib", "socket"),
    *("logging", "typing", "pathlib", "shutil", "tempfile", "traceback", "importlib", "selectors"),
}
"""What a process that lives beside every job, or starts for every command, cannot afford."""


@pytest.mark.parametrize("words", [["supervise", "0" * 12, "0"], ["serve", "x"], ["poll"]], ids=str)
def test_it_imports_only_what_it_needs(agent: Agent, words: list[str]) -> None:
    agent.once("hello")
    # Descriptor 3 is where a supervisor looks for its request: there is none.
    python = [agent.python, "-X", "importtime", "-I", "-S", str(agent.file)]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 3< /dev/null', "sh", *python, *words],
        input=b"",
        capture_output=True,
        check=False,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    wanted = {"supervise": "supervisor", "serve": "serve", "poll": "poll"}[words[0]]
    assert f"traindeck_agent.{wanted}" in imported
    assert imported & HEAVY == set()


def cache_of(agent: Agent) -> Path:
    return next(agent.file.parent.glob("*.cache"))


def test_compiled_modules_are_kept_beside_it(agent: Agent) -> None:
    agent.once("hello")
    cache = cache_of(agent)
    before = cache.stat()
    agent.once("hello")
    assert cache.stat().st_ino == before.st_ino
    assert before.st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another version's"])
def test_a_damaged_cache_is_made_again(agent: Agent, damage: str) -> None:
    agent.once("hello")
    cache = cache_of(agent)
    whole = cache.read_bytes()
    damaged = {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        "empty": b"",
        "another version's": whole.replace(build.agent_version().encode(), b"0" * 16),
    }[damage]
    cache.write_bytes(damaged)
    agent.once("hello")
    assert cache.read_bytes() == whole


def test_a_cache_that_others_may_write_is_not_believed(agent: Agent) -> None:
    agent.once("hello")
    cache = cache_of(agent)
    whole = cache.read_bytes()
    cache.chmod(0o666)
    agent.once("hello")
    assert cache.stat().st_mode & 0o077 == 0
    assert cache.read_bytes() == whole


def test_without_a_place_for_the_cache_it_runs_all_the_same(agent: Agent, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # Root may write anywhere: put a directory where the cache would go instead.
        (agent.file.with_suffix(f".{sys.implementation.cache_tag}.cache")).mkdir()
    else:
        agent.file.parent.chmod(0o500)
    answer, _ = agent.once("hello")
    assert answer["agent"] == build.agent_version()


def test_a_copy_of_another_name_knows_its_version(agent: Agent) -> None:
    copy = agent.file.with_name("copy.py")
    copy.write_bytes(agent.file.read_bytes())
    agent.file = copy
    answer, _ = agent.once("hello")
    assert answer["agent"] == build.agent_version()
