"""What a fine-tuning run does, on a real tiny model, as a real process."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from traindeck.console.recipes.resolving import trainers

pytestmark = [pytest.mark.train, pytest.mark.slow]

Start = Callable[..., Any]


def test_a_lora_run_reports_in_full_and_leaves_an_adapter(sft: Start, models: Path) -> None:
    job = sft(steps=8, eval_share=0.1, eval_every=4, save_every=4, lora_rank=4)
    assert job.wait() == 0, job.log

    assert [event["value"] for event in job.events("total_steps")] == [8]
    saved = job.events("checkpoint")
    assert [event["path"] for event in saved] == [f"artifacts/checkpoint-{n}" for n in (4, 8)]
    loss = job.curve("loss")
    assert list(loss) == list(range(1, 9)) and loss[8] < loss[1]
    assert any(len(str(value)) > 10 for value in loss.values())  # not the four digits of the log
    assert set(job.curve("lr")) == set(loss) and max(job.curve("lr").values()) == 1e-2
    assert list(job.curve("eval/loss")) == [4, 8]
    tokens = list(job.curve("tokens").values())
    assert tokens == sorted(tokens) and tokens[0] > 0
    assert all(rate > 0 for rate in job.curve("tokens_per_s").values())
    assert all(line["time"] > 1e9 for line in job.lines)

    final = job.folder / "artifacts" / "final"
    adapter = json.loads((final / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(models / "tiny") and adapter["r"] == 4
    assert (final / "tokenizer.json").is_file() and not list(final.parent.glob(".final*"))
    assert len({path.stat().st_mode for path in final.iterdir()}) == 1

    said = job.log
    assert said.index("data: 80 rows of chats") < said.index("importing torch")
    assert "held out: 8 of the rows" in said
    assert "device: cpu, 1 process, float32" in said
    assert "step 8/8  loss" in said and "done: 8 steps" in said
    assert "{'loss'" not in said and "%|" not in said and "Warning" not in said


def test_a_full_run_learns_from_the_completions_only(sft: Start) -> None:
    rows = [{"prompt": f"{word}:", "completion": f" {word[::-1]}"} for word in WORDS]
    job = sft(rows=rows, method="full", lr=1e-3, precision="bf16-mixed")
    assert job.wait() == 0, job.log
    assert "80 rows of prompts and completions" in job.log
    assert "float32 weights, bf16 compute" in job.log and "full: all " in job.log
    letters = sum(map(len, WORDS))  # prompt: the word and a colon; answer: space, word, end
    share = (letters + 2 * len(WORDS)) / (2 * letters + 3 * len(WORDS))
    assert f"{share:.0%} of them learnt" in job.log
    assert (job.folder / "artifacts" / "final" / "model.safetensors").is_file()


WORDS = [a + b + c for a in "bdfg" for b in "aeiou" for c in ("lt", "n", "ns", "rk")]


def test_text_is_packed_and_learnt_whole(sft: Start) -> None:
    rows = [{"text": f"{word} {word[::-1]}"} for word in WORDS]
    job = sft(rows=rows, packing=True, steps=2, precision="bf16")
    assert job.wait() == 0, job.log
    assert "plain text has no answers" in job.log
    assert re.search(r"tokens: .* (9\d|100)% of them learnt", job.log)
    assert "packed: 80 rows into sequences of at most 64" in job.log
    assert "bfloat16 weights" in job.log


def test_a_stopped_run_saves_says_so_and_goes_on_as_if_nothing_had_been(sft: Start) -> None:
    values = {"steps": 40, "save_every": 4, "lora_dropout": 0.1, "keep": "all"}
    straight = sft("straight", **values)
    stopped = sft("stopped", **values)
    stopped.until(lambda job: len(job.curve("loss")) >= 6)
    stopped.stop(signal.SIGTERM)
    assert stopped.wait() == 75, stopped.log
    step = max(stopped.curve("loss"))
    assert 6 <= step < 40
    assert f"SIGTERM: saving a checkpoint at step {step}, then stopping" in stopped.log
    assert not (stopped.folder / "artifacts" / "final").exists()

    # What a kill in the middle of saving leaves must not be gone on from.
    artifacts = stopped.folder / "artifacts"
    for number, breakage in ((step + 50, "sentinel"), (step + 60, "torn")):
        torn = artifacts / f"checkpoint-{number}"
        shutil.copytree(artifacts / f"checkpoint-{step}", torn)
        state = torn / "trainer_state.json"
        if breakage == "sentinel":
            state.write_text(
                state.read_text().replace(f'"global_step": {step}', f'"global_step": {number}')
            )
            (torn / "checkpoint-is-incomplete.txt").write_text("")
        else:
            state.write_bytes(state.read_bytes()[:100])

    again = sft("stopped", **values)
    assert again.wait() == 0, again.log
    assert f"checkpoint-{step + 50} is incomplete and is passed over" in again.log
    assert f"checkpoint-{step + 60} is incomplete and is passed over" in again.log
    assert f"going on from checkpoint-{step}" in again.log
    assert straight.wait() == 0, straight.log
    assert again.curve("loss") == pytest.approx(straight.curve("loss"), rel=1e-4)
    assert again.curve("tokens")[40] == straight.curve("tokens")[40]


def test_a_run_whose_limit_is_near_saves_and_goes_on(sft: Start) -> None:
    job = sft(steps=30, save_every=1000, log_every=1)
    job.until(lambda job: len(job.curve("loss")) >= 3)
    job.stop(signal.SIGUSR2)
    job.until(lambda job: job.events("checkpoint"))
    assert job.wait() == 0, job.log
    step = job.events("checkpoint")[0]["step"]
    assert 3 <= step < 30
    assert f"SIGUSR2: saving a checkpoint at step {step}, then going on" in job.log
    assert max(job.curve("loss")) == 30


def test_what_is_measured_of_a_stopped_run_ends_where_it_was_stopped(sft: Start) -> None:
    job = sft(steps=100_000, log_every=50_000, save_every=2)
    job.until(lambda job: job.events("checkpoint"))
    job.stop(signal.SIGTERM)
    assert job.wait() == 75, job.log
    stopped = re.search(r"stopped at step (\d+) of 100000", job.log)
    assert stopped is not None and max(job.curve("loss")) == int(stopped[1])


def test_the_last_step_is_logged_whatever_lies_between_two(sft: Start) -> None:
    job = sft(steps=5, log_every=3, save_every=1, keep=1)
    assert job.wait() == 0, job.log
    assert "[transformers]" not in job.log
    assert list(job.curve("loss")) == list(job.curve("lr")) == [1, 3, 5]
    assert re.findall(r"step (\d+)/5", job.log) == ["1", "3", "5"]
    assert f"loss {job.curve('loss')[5]:.4f}" in job.log.splitlines()[-2]


def test_a_full_run_goes_on_and_only_what_is_missing_is_called_so(sft: Start) -> None:
    values = {"method": "full", "lr": 1e-3, "steps": 4, "schedule": "constant", "eval_share": 0.1}
    short = {**values, "steps": 3}
    straight = sft("straight", save_every=2, **values)
    assert straight.wait() == 0, straight.log
    checkpoint = straight.folder / "artifacts" / "checkpoint-2"
    again = sft("again", resume=str(checkpoint), **values)
    assert again.wait() == 0, again.log
    wanted = {step: loss for step, loss in straight.curve("loss").items() if step > 2}
    assert again.curve("loss") == pytest.approx(wanted, rel=1e-4)
    assert "done: 4 steps, 2 of them in 0:0" in again.log
    assert "missing" not in again.log  # the output head is the input embedding by another name

    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    finished = straight.folder / "artifacts" / "final" / "model.safetensors"
    before = finished.read_bytes()
    over = sft("straight", save_every=2, **values)  # killed after its last checkpoint, say
    assert over.wait() == 0, over.log
    assert list(over.curve("loss")) == [1, 2, 3, 4] and finished.read_bytes() == before
    assert "done: 4 steps, 0 of them in 0:0" in over.log
    assert over.events("total_steps")[-1]["step"] == 4

    past = sft("past", resume=str(straight.folder / "artifacts" / "checkpoint-4"), **short)
    assert past.wait() == 2 and "error: checkpoint-4 is past the 3 steps asked for" in past.log

    worse = sft("worse", resume=str(checkpoint), **values)
    assert worse.wait() == 0, worse.log
    assert "missing keys in the checkpoint model loaded: ['model.norm.weight']" in worse.log


def test_a_finished_step_is_not_thrown_away_by_two_terms(sft: Start) -> None:
    job = sft(steps=100_000, resume="never")
    job.until(lambda job: len(job.curve("loss")) >= 2)
    job.stop(signal.SIGTERM)
    job.stop(signal.SIGTERM)
    assert job.wait() == 75, job.log
    step = max(job.curve("loss"))
    assert (job.folder / "artifacts" / f"checkpoint-{step}" / "trainer_state.json").is_file()
    other = sft(steps=3, resume="never")
    assert other.wait() == 0, other.log
    assert "1 checkpoints of an earlier attempt were moved to earlier-1" in other.log


def test_a_checkpoint_of_another_kind_is_refused(sft: Start) -> None:
    first = sft("first", steps=2, save_every=2, lora_rank=4)
    assert first.wait() == 0, first.log
    checkpoint = str(first.folder / "artifacts" / "checkpoint-2")
    other = sft("other", steps=4, lora_rank=8, resume=checkpoint)
    assert other.wait() == 2
    assert "trained with lora_rank 4, now it is 8" in other.log and "Traceback" not in other.log
    longer = sft("longer", steps=4, lora_rank=4, seq_length=32, resume=checkpoint)
    assert longer.wait() == 0, longer.log
    assert "warning: seq_length was 64 then and is 32 now" in longer.log
    assert list(longer.curve("loss")) == [3, 4]


def test_what_is_changed_for_a_resume_counts(sft: Start) -> None:
    first = sft("first", steps=2, save_every=2, log_every=2, schedule="constant", warmup=0)
    assert first.wait() == 0, first.log
    checkpoint = str(first.folder / "artifacts" / "checkpoint-2")
    values = {"resume": checkpoint, "steps": 6, "warmup": 0}
    lower = sft("lower", lr=1e-4, schedule="linear", weight_decay=0.1, **values)
    assert lower.wait() == 0, lower.log
    wanted = {step: 1e-4 * (6 - step + 1) / 6 for step in (3, 4, 5, 6)}
    assert lower.curve("lr") == pytest.approx(wanted)
    assert "[transformers]" not in lower.log
    louder = sft("louder", lora_alpha=320, **values)
    assert louder.wait() == 2
    assert "checkpoint-2 was trained with lora_alpha 32.0, now it is 320.0" in louder.log


def test_what_another_run_measured_is_not_reported_as_this_ones(sft: Start) -> None:
    first = sft("first", steps=2, save_every=2, eval_every=2, eval_share=0.1)
    assert first.wait() == 0 and "eval loss" in first.log.splitlines()[-2], first.log
    checkpoint = first.folder / "artifacts" / "checkpoint-2"
    second = sft("second", steps=4, save_every=4, resume=str(checkpoint))
    assert second.wait() == 0, second.log
    assert "eval loss" not in second.log
    saved = second.folder / "artifacts" / "checkpoint-4" / "trainer_state.json"
    steps = {log["step"] for log in json.loads(saved.read_text())["log_history"]}
    assert steps == {3, 4}


def test_two_processes_train_one_model_and_stop_together(sft: Start) -> None:
    port = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    job = sft(steps=100_000, processes=2, env=port)
    job.until(lambda job: len(job.curve("loss")) >= 3)
    job.forge

    os.kill(job.pids[1], signal.SIGTERM)  # one of them is enough
    assert job.wait() == 75, job.log
    assert job.codes == [75, 75]
    assert "device: cpu, 2 processes (MULTI_CPU)" in job.log
    steps = list(job.curve("loss"))
    assert steps == sorted(set(steps))  # one of them reports


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_processes_that_do_not_know_of_each_other_are_refused(sft: Start) -> None:
    job = sft(env={"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"})
    assert job.wait() in (1, 2), job.log
    assert "final" not in [path.name for path in (job.folder / "artifacts").iterdir()]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"seq_length": 8}, "No row is left to train on: at seq_length 8 every answer is cut away"),
        ({"model": "unmarked"}, "does not mark the answers ({% generation %})"),
        ({"lora_targets": "c_attn"}, "lora_targets: Target modules"),
        ({"lora_targets": "q_proj,v_prj"}, "the model has no layer v_prj. The nearest is v_proj."),
        ({"lora_targets": "lm_head"}, "lora_targets: Applying a PEFT adapter to `lm_head`"),
        ({"model": "torn"}, "/torn: cannot be loaded: Error while deserializing header"),
        ({"model": "new"}, "/new: cannot be loaded: The checkpoint you are trying to load has"),
        ({"model": "strict"}, "run.jsonl:3: the model's chat template does not take this chat: no"),
        ({"eval_data": "pairs"}, "eval_data: prompts and completions, but data are chats."),
        ({"eval_data": "long"}, "No row is left to evaluate on: at seq_length 64 every answer"),
        ({"precision": "fp16-mixed"}, "precision fp16-mixed needs a GPU"),
        ({"eval_share": 0.001}, "eval_share 0.001 of 80 rows leaves none to evaluate on"),
        ({"resume": "/nowhere/checkpoint-1"}, "resume /nowhere/checkpoint-1: no such folder"),
        ({"model": "org/none"}, "not on this machine, and the hub is switched off"),
        ({"data": "org/none"}, "data org/none: not on this machine, and the hub is switched off"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    sft: Start, models: Path, tmp_path: Path, values: dict[str, Any], says: str
) -> None:
    made = {
        "unmarked": models / "unmarked",
        "strict": _strict(models / "tiny", tmp_path / "strict"),
        "torn": _broken(models / "tiny", tmp_path / "torn", "model.safetensors", b"half"),
        "new": _broken(models / "tiny", tmp_path / "new", "config.json", b'{"model_type": "x9"}'),
        "pairs": _write(tmp_path / "pairs.jsonl", {"prompt": "a", "completion": "b"}),
        "long": _write(tmp_path / "long.jsonl", *_chats(["bat"], ask="b" * 80)),
    }
    rows = _chats(WORDS)
    rows[2]["messages"].insert(0, {"role": "system", "content": "be short"})
    job = sft(rows=rows, **{key: str(made.get(value, value)) for key, value in values.items()})
    assert job.wait() == 2, job.log
    assert says in job.log
    assert "Traceback" not in job.log and job.log.splitlines()[-1].startswith("error: ")


def _write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _broken(model: Path, target: Path, name: str, content: bytes) -> Path:
    shutil.copytree(model, target)
    (target / name).write_bytes(content)
    return target


def _strict(model: Path, target: Path) -> Path:
    """A model whose chat template takes no system role."""
    shutil.copytree(model, target)
    template = target / "chat_template.jinja"
    no = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    template.write_text(no + template.read_text())
    return target


def test_packed_rows_that_are_cut_or_hold_no_answer_are_counted(sft: Start) -> None:
    rows = [*_chats(["bat"] * 4), *_chats(["bat"] * 2, ask="b" * 80), *_chats(["ab" * 20], ask="b")]
    job = sft(rows=rows, steps=1, packing=True)
    assert job.wait() == 0, job.log
    assert "warning: 3 rows end at seq_length 64 (cut there, or exactly as long)" in job.log
    assert "warning: 2 sequences hold no answer: their prompts are longer" in job.log


def test_rows_that_are_cut_or_lost_are_counted(sft: Start) -> None:
    word = "ab" * 20
    rows = [*_chats(["bat"] * 10), *_chats([word] * 3, ask="b")]
    rows += _chats(["bat"] * 2, ask="b" * 80)
    job = sft(rows=rows, steps=1)
    assert job.wait() == 0, job.log
    assert "warning: 2 rows are dropped: nothing of their answer is left" in job.log
    assert "warning: 3 rows end at seq_length 64" in job.log
    far = sft("far", rows=_chats(["ab" * 200]), steps=1, seq_length=1024)
    assert far.wait() == 0, far.log
    assert re.search(r"warning: rows of up to [48]\d\d tokens, the model is made for 256", far.log)


def test_what_a_row_may_not_be_meant_to_be_is_said(sft: Start) -> None:
    rows = _chats(["bat"] * 3 + WORDS[:17])
    rows[-1]["messages"][0]["role"] = "usr"
    job = sft(rows=rows, steps=1, eval_share=0.1)
    assert job.wait() == 0, job.log
    assert "warning: role 'usr' (1 times) may mean nothing to the chat template" in job.log
    assert "held out: 2 of the rows" in job.log
    assert "warning: 2 rows are copies of others, which may be trained on" in job.log


def _chats(words: list[str], ask: str = "back") -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"{ask}: {word}"},
                {"role": "assistant", "content": word[::-1]},
            ]
        }
        for word in words
    ]


HUB = """
import datasets
def load_dataset(name, config=None, split=None):
    assert (name, config) == ("org/rows", "small"), (name, config)
    rows = [{"prompt": f"q{n}", "completion": "ab"} for n in range(8)]
    if split == "test":
        rows[2]["completion"] = None
    return datasets.Dataset.from_list(rows)
datasets.load_dataset = load_dataset
"""


def test_a_data_set_of_the_hub_is_checked_like_a_file(sft: Start) -> None:
    good = sft("good", data="org/rows:small", data_split="train", code=HUB, steps=1)
    assert good.wait() == 0, good.log
    assert "data: 8 rows of prompts and completions in org/rows" in good.log
    bad = sft("bad", data="org/rows:small", data_split="test", code=HUB, steps=1)
    assert bad.wait() == 2
    assert "org/rows row 3: field completion: expected text, found null." in bad.log


def test_without_torch_it_says_how_to_get_it(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "abc"}\n')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"model": str(tmp_path / "model"), "data": str(rows)}))
    script = str(trainers() / "sft.py")
    done = subprocess.run(  # -S: an interpreter without any installed library
        [sys.executable, "-S", script, "--recipe", str(recipe)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert "torch, transformers, trl, datasets, accelerate, peft cannot be imported" in done.stderr
    assert f"{sys.executable} -m pip install torch" in done.stderr
