"""What programs of other people's do when a job of theirs is warned of its time limit."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from pathlib import Path

import pytest
from tests.payload.harness import until
from tests.slurm.conftest import Place

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SOAK" not in os.environ, reason="imports Lightning: make soak"),
]

LIGHTNING = """
import sys, time, torch, lightning
from torch.utils.data import DataLoader, TensorDataset
class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def on_train_start(self):
        print("begins at", self.global_step, flush=True)
    def training_step(self, batch, index):
        time.sleep(0.1)
        print("step", self.global_step, flush=True)
        return self.layer(batch[0]).pow(2).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)
trainer = lightning.Trainer(default_root_dir=sys.argv[1], max_epochs=9, accelerator="cpu",
                            logger=False, enable_progress_bar=False)
trainer.fit(Model(), DataLoader(TensorDataset(torch.randn(4000, 4)), batch_size=4))
"""

HUGGING_FACE = """
import sys, time, torch
from transformers import Trainer, TrainingArguments
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x):
        time.sleep(0.1)
        print("step", flush=True)
        return {"loss": self.layer(x).pow(2).mean()}
args = TrainingArguments(sys.argv[1], max_steps=900, save_strategy="no", report_to=[],
                         use_cpu=True, disable_tqdm=True)
Trainer(Model(), args, train_dataset=[{"x": torch.randn(4)} for _ in range(4000)],
        callbacks=[SaveWhenWarned()]).train()
"""


def submitted(place: Place, folder: Path, program: str) -> tuple[str, str]:
    """A job that runs a program, for which a folder is kept."""
    script = folder / "train.py"
    script.write_text(program)
    kept = {name: place.slurm.env[name] for name in ("PATH", "SLURM_CONF")}
    run = place.prepare(sys.executable, str(script), str(folder / "kept"), env=kept)
    return run, place.submit(run, "--requeue", "--ntasks-per-node=1")


def test_a_plain_lightning_trainer_saves_is_requeued_and_goes_on(
    place: Place, tmp_path: Path
) -> None:
    run, job = submitted(place, tmp_path, LIGHTNING)
    place.agent.said(run, b"step 5\n")
    place.slurm.run("scancel", "--signal=USR2", "--batch", job)
    until(lambda: place.agent.evidence(run)["exit"], "the end of the first attempt")
    assert place.agent.evidence(run)["exit"]["reason"] == f"Slurm requeued job {job}"
    place.slurm.reaches(job, "PENDING")
    place.slurm.hurry(job)
    place.agent.said(run, b"begins at", attempt=1)
    begun = re.search(rb"begins at (\d+)", place.agent.log(run, attempt=1))
    assert begun is not None and int(begun[1]) > 5


def test_the_callback_of_the_readme_has_a_hugging_face_trainer_save_and_go_on(
    place: Place, tmp_path: Path
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    callback = re.search(r"```python\n((?:(?!```).)*class SaveWhenWarned.*?)```", readme, re.DOTALL)
    assert callback is not None
    run, job = submitted(place, tmp_path, textwrap.dedent(callback[1]) + HUGGING_FACE)
    place.agent.said(run, b"step\n" * 3)
    place.slurm.run("scancel", "--signal=USR2", "--batch", job)
    until(lambda: list((tmp_path / "kept").glob("checkpoint-*/model*")), "a checkpoint")
    steps = place.agent.log(run).count(b"step\n")
    until(lambda: place.agent.log(run).count(b"step\n") > steps + 2, "that it goes on")
