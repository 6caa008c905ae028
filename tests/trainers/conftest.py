"""A tiny model made on the spot, rows to learn from, and real trainer processes."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from traindeck.console.recipes.reading import load
from traindeck.console.recipes.resolving import resolve, trainers

NEEDS = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    for item in items:
        if missing and item.get_closest_marker("train"):
            item.add_marker(pytest.mark.skip(reason=f"{', '.join(missing)} not installed"))


@pytest.fixture(scope="session", autouse=True)
def trainer_modules() -> Iterator[None]:
    """The trainers' own modules can be imported, as they can beside each other."""
    sys.path.insert(0, str(trainers()))
    yield
    sys.path.remove(str(trainers()))


@dataclass
class Job:
    """A trainer's process, its folder and what it wrote."""

    folder: Path
    pids: list[int]
    forge: Forge = field(repr=False)
    codes: list[int] = field(default_factory=list)

    def wait(self) -> int:
        """Its exit code (the first of several processes')."""
        while len(self.codes) < len(self.pids):
            self.codes.append(self.forge.ask({"wait": self.pids[len(self.codes)]})["code"])
        return self.codes[0]

    def stop(self, number: int = signal.SIGTERM) -> None:
        for pid in self.pids[len(self.codes) :]:
            os.kill(pid, number)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""

    @property
    def lines(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        whole = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in whole]

    def curve(self, name: str) -> dict[int, float]:
        return {line["step"]: line[name] for line in self.lines if name in line}

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("__event__") == name]

    def until(self, condition: Callable[[Job], object]) -> None:
        """Wait for something to be seen of it, while it lives."""
        limit = time.monotonic() + 120
        while not condition(self):
            alive = all(Path(f"/proc/{pid}/stat").exists() for pid in self.pids)
            assert alive and time.monotonic() < limit, self.log
            time.sleep(0.01)


class Forge:
    """Starts trainers as forks of a process that has imported the libraries (trainer_forge.py)."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("trainer_forge.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(trainers())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},  # read at import
        )
        self._answer()

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the forge has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def start(
        self,
        folder: Path,
        argv: list[str],
        *,
        code: str = "",
        env: dict[str, str] | None = None,
        processes: int = 1,
    ) -> Job:
        folder.mkdir(exist_ok=True)
        own = {
            "TRAINDECK_RUN_DIR": str(folder),
            "TRAINDECK_ARTIFACTS": str(folder / "artifacts"),
            "TRAINDECK_METRICS": str(folder / "metrics.jsonl"),
            "HF_HOME": str(folder.parent / "hf"),
            **(env or {}),
        }
        pids = []
        for rank in range(processes):
            spread = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            order = {
                "argv": argv,
                "code": code,
                "env": own | (spread if processes > 1 else {}),
                "cwd": str(folder),
                "out": str(folder / "log"),
            }
            pids.append(self.ask(order)["pid"])
        return Job(folder, pids, self)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(120)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    made = Forge()
    yield made
    made.close()


TINY = """
import demo, torch
from transformers import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
t = demo.make_tokenizer()
m = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(t), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
    tie_word_embeddings=True, bos_token_id=None,
    eos_token_id=t.eos_token_id, pad_token_id=t.pad_token_id))
m.save_pretrained("tiny"); t.save_pretrained("tiny")
t.chat_template = t.chat_template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
m.save_pretrained("unmarked"); t.save_pretrained("unmarked")
"""


@pytest.fixture(scope="session")
def models(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny` (0.1 M weights) and `unmarked`, whose template marks no answers."""
    folder = tmp_path_factory.mktemp("models")
    job = forge.start(folder, [], code=TINY)
    assert job.wait() == 0, job.log
    return folder


def chats(words: list[str]) -> list[dict[str, Any]]:
    """Rows to learn from: words backwards."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"back: {word}"},
                {"role": "assistant", "content": word[::-1]},
            ]
        }
        for word in words
    ]


WORDS = [a + b + c for a in "bdfg" for b in "aeiou" for c in ("lt", "n", "ns", "rk")]


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def sft(forge: Forge, models: Path, tmp_path: Path) -> Callable[..., Job]:
    """Start a fine-tuning as the console would: from a resolved recipe."""

    def start(
        name: str = "run", rows: list[Any] | None = None, processes: int = 1, **values: Any
    ) -> Job:
        data = write_rows(tmp_path / f"{name}.jsonl", chats(WORDS) if rows is None else rows)
        chosen = {
            "model": str(models / "tiny"),
            "data": str(data),
            "steps": 6,
            "batch": 4,
            "lr": 1e-2,
            "seq_length": 64,
            "log_every": 1,
            "save_every": "end",
            "activation_checkpointing": False,
            **{key: value for key, value in values.items() if key not in ("env", "code")},
        }
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        recipe = folder / "recipe.json"
        recipe.write_text(json.dumps(resolve(load("sft"), chosen).to_json()))
        return forge.start(
            folder,
            [str(trainers() / "sft.py"), "--recipe", str(recipe)],
            code=values.get("code", ""),
            env=values.get("env"),
            processes=processes,
        )

    return start
