#!/usr/bin/env python3
"""Supervised fine-tuning of a causal language model, whole or by LoRA: `python sft.py --recipe F`.

A thin script over TRL, PEFT and transformers: it checks what it was given before anything heavy is
loaded, says what it does, reports through the ordinary metric channel and ends with a code that
tells "finished" from "stopped early". The training loop is theirs. `Options` is exactly the list of
parameters of console/recipes/sft.yaml; a test compares the two.

Exit codes: 0 finished, 1 failed, 2 nothing was started (the recipe, the data or the model is not
usable), 75 asked to stop, a checkpoint was saved. (Under torchrun with several processes its
launcher's own code is seen instead.) USR2, a scheduler's warning before its limit, makes a
checkpoint, and the training goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from traindeck_checkpoints import choose, resuming, write_facts
from traindeck_data import check_data, describe, load_data, unavailable
from traindeck_options import read_options
from traindeck_reporting import (
    REFUSED,
    STOPPED_EARLY,
    Metrics,
    NothingLeft,
    Refused,
    Stop,
    artifacts,
    calm_libraries,
    clock,
    reporter,
    say,
)
from traindeck_rows import (
    MESSAGES,
    Rows,
    is_path,
    normal,
    records,
)

NEEDS = ("torch", "transformers", "trl", "datasets", "accelerate")
FIXED = ("method", "lora_rank", "lora_alpha", "lora_targets")
"""What a checkpoint must have been trained with to go on from it."""


@dataclass(frozen=True)
class Options:
    """What a recipe sets; its meaning stands in sft.yaml."""

    model: str
    data: str
    data_split: str = "train"
    eval_data: str = ""
    eval_share: float = 0.0
    method: Literal["lora", "full"] = "lora"
    lora_rank: int = 16
    lora_alpha: float = 32.0
    lora_dropout: float = 0.0
    lora_targets: str | tuple[str, ...] = "all-linear"
    lr: float = 2e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.03
    batch: int = 8
    accumulate: int = 1
    epochs: float = 1.0
    steps: int | Literal["auto"] = "auto"
    seq_length: int = 1024
    packing: bool = False
    loss_on: Literal["answers", "all"] = "answers"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    precision: Literal["auto", "fp32", "bf16", "bf16-mixed", "fp16-mixed"] = "auto"
    activation_checkpointing: bool = True
    seed: int = 42
    save_every: int | Literal["end"] = 200
    keep: int | Literal["all"] = 2
    log_every: int = 10
    eval_every: int | Literal["end"] = 200
    resume: str = "auto"


# ------------------------------------------------------------------------------- what was asked for


def check_installed(options: Options) -> None:
    """
    Raises:
        Refused: A library is missing here; how to get it.
    """
    needs = [*NEEDS, "peft"] if options.method == "lora" else list(NEEDS)
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(
            f"{', '.join(missing)} cannot be imported by {sys.executable}, and fine-tuning needs "
            f"it. Install it there: {sys.executable} -m pip install {' '.join(missing)}"
        )


def check_model(options: Options) -> str:
    """The model's folder as an absolute path, or its id on the hub.

    Raises:
        Refused: A folder that is not there or holds no model.
    """
    name = options.model
    if not is_path(name):
        return name
    folder = Path(name).expanduser().absolute()
    if not folder.is_dir():
        raise Refused(f"model {name}: no such folder.")
    if not (folder / "config.json").is_file():
        what = "an adapter, not a whole model" if (folder / "adapter_config.json").is_file() else ""
        raise Refused(f"model {name}: {what or 'no config.json in this folder'}.")
    return str(folder)


# ------------------------------------------------------------------------------------- with torch


def load_tokenizer(model: str, rows: Rows) -> Any:
    """
    Raises:
        Refused: There is none, or it has no chat template and the rows are messages, or the model
            is of no kind that transformers knows.
    """
    from transformers import AutoConfig, AutoTokenizer

    what = "model"
    try:
        AutoConfig.from_pretrained(model)
        what = "tokenizer of"
        tokenizer = AutoTokenizer.from_pretrained(model)
    except Exception as error:  # OSError, ValueError, errors of the hub's client
        raise Refused(unavailable(what, model, error)) from None
    if rows.chat and not tokenizer.chat_template:
        raise Refused(
            f"The tokenizer of {model} has no chat template, and the rows are messages. Take a "
            "chat model, or rows with prompt and completion as text."
        )
    return tokenizer


def check_template(tokenizer: Any, rows: Rows, options: Options) -> None:
    """
    Raises:
        Refused: The chat template cannot mark the answers that the loss should be on.
    """
    if rows.kind != MESSAGES or options.loss_on != "answers":
        return
    from trl import get_training_chat_template

    if "{% generation" in tokenizer.chat_template or "{%- generation" in tokenizer.chat_template:
        return
    try:
        get_training_chat_template(tokenizer)
    except ValueError:
        raise Refused(
            "The model's chat template does not mark the answers ({% generation %}), and TRL knows "
            "no replacement. Set loss_on=all, give prompt and completion instead of messages, or "
            "add the marks to the template."
        ) from None


def check_rendering(tokenizer: Any, rows: Rows, options: Options) -> None:
    """
    Raises:
        Refused: Naming the first row of a file that the chat template does not take.
    """
    from jinja2 import TemplateError

    if not rows.chat:
        return
    for where, record in records(rows.files):
        row: Any = normal(record, where, Rows(""), options.loss_on == "answers")
        try:
            tokenizer.apply_chat_template(
                row.get("messages") or [*row["prompt"], *row["completion"]], tokenize=False
            )
        except TemplateError as error:
            raise Refused(f"{where}: {_not_rendered(error)}") from None


def _not_rendered(error: Exception) -> str:
    return f"the model's chat template does not take this chat: {error}"


@dataclass(frozen=True)
class Device:
    """Where this runs and with which numbers: `weights` is the dtype the model is loaded in."""

    name: str
    processes: int
    weights: str
    autocast: str

    @property
    def accelerated(self) -> bool:
        return self.name != "cpu"


def choose_device(options: Options) -> Device:
    """
    Raises:
        Refused: The precision asked for is not to be had here.
    """
    import torch

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    visible = torch.cuda.device_count()
    if processes == 1 and visible > 1:
        # One process with several GPUs would be wrapped in DataParallel, which TRL refuses. CUDA is
        # not initialised yet, so this still counts.
        first = (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]
        os.environ["CUDA_VISIBLE_DEVICES"] = first
        say(f"{visible} GPUs are visible, one process uses the first (--gpus N starts N processes)")
    gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name(0) if gpu else "cpu"
    precision = options.precision
    if precision == "auto":
        if gpu and torch.cuda.is_bf16_supported():
            precision = "bf16" if options.method == "lora" else "bf16-mixed"
        else:
            precision = "fp32"
    if precision == "fp16-mixed" and not gpu:
        raise Refused("precision fp16-mixed needs a GPU; here there is only the CPU. Use fp32.")
    weights = "bfloat16" if precision == "bf16" else "float32"
    autocast = {"bf16": "bf16", "bf16-mixed": "bf16", "fp16-mixed": "fp16"}.get(precision, "")
    return Device(name, processes, weights, autocast)


def build(
    options: Options,
    model: str,
    tokenizer: Any,
    train: Any,
    evaluation: Any,
    device: Device,
    callback: Any,
) -> Any:
    """The trainer, with model and tokenised rows.

    Raises:
        Refused: The model cannot be loaded, or no row is left to train on.
    """
    from jinja2 import TemplateError
    from safetensors import SafetensorError
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    every = {"save": options.save_every, "eval": options.eval_every}
    schedule = options.schedule
    if schedule == "constant" and options.warmup:
        schedule = "constant_with_warmup"
    quiet = not sys.stdout.isatty()
    config = SFTConfig(
        output_dir=str(artifacts()),
        model_init_kwargs={"dtype": device.weights, "device_map": None},
        use_cpu=not device.accelerated,
        bf16=device.autocast == "bf16",
        fp16=device.autocast == "fp16",
        gradient_checkpointing=options.activation_checkpointing,
        learning_rate=options.lr,
        lr_scheduler_type=schedule,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        per_device_train_batch_size=options.batch,
        per_device_eval_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulate,
        num_train_epochs=options.epochs,
        max_steps=-1 if options.steps == "auto" else options.steps,
        max_length=options.seq_length,
        packing=options.packing,
        assistant_only_loss=options.loss_on == "answers" and "messages" in train.column_names,
        completion_only_loss=(options.loss_on == "answers") if _prompted(train) else None,
        dataset_num_proc=min(8, os.cpu_count() or 1) if len(train) > 20_000 else None,
        seed=options.seed,
        data_seed=options.seed,
        logging_strategy="steps",
        logging_steps=options.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="no" if every["save"] == "end" else "steps",
        save_steps=1 if every["save"] == "end" else every["save"],
        save_total_limit=None if options.keep == "all" else options.keep,
        eval_strategy="no" if evaluation is None or every["eval"] == "end" else "steps",
        eval_steps=None if every["eval"] == "end" else every["eval"],
        dataloader_pin_memory=device.accelerated,
        disable_tqdm=quiet,
        report_to="none",
    )
    adapter = None
    if options.method == "lora":
        from peft import LoraConfig

        targets = options.lora_targets
        adapter = LoraConfig(
            r=options.lora_rank,
            lora_alpha=options.lora_alpha,
            lora_dropout=options.lora_dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )
    try:
        trainer = resuming(SFTTrainer)(
            model=model,
            args=config,
            train_dataset=train,
            eval_dataset=evaluation,
            processing_class=tokenizer,
            peft_config=adapter,
            callbacks=[callback],
        )
    except (IndexError, StopIteration):
        raise Refused(_nothing_left(options)) from None
    except OSError as error:
        if error.errno is not None:  # the disk, not the model
            raise
        raise Refused(unavailable("model", model, error)) from None
    except SafetensorError as error:  # a file that was not copied to its end
        raise Refused(unavailable("model", model, error)) from None
    except ValueError as error:
        if "target module" in str(error).lower().replace("_", " "):
            raise Refused(f"lora_targets: {str(error).splitlines()[0]}") from None
        raise
    except TemplateError as error:  # of a data set of the hub; files were looked through
        raise Refused(f"a row: {_not_rendered(error)}") from None
    if quiet:
        trainer.remove_callback(PrinterCallback)
    if len(trainer.train_dataset) == 0:
        raise Refused(_nothing_left(options))
    if evaluation is not None and len(trainer.eval_dataset) == 0:
        raise Refused(_nothing_left(options, "evaluate"))
    if options.method == "lora":
        check_targets(trainer.model, options)
    return trainer


def check_targets(model: Any, options: Options) -> None:
    """
    Raises:
        Refused: One of several targets is no layer; PEFT is content with one that is.
    """
    if isinstance(options.lora_targets, str):
        return
    from difflib import get_close_matches

    for target in options.lora_targets:
        if any(f".{name}".endswith(f".{target}") for name in model.targeted_module_names):
            continue
        layers = {name.rpartition(".")[2] for name, _ in model.get_base_model().named_modules()}
        near = get_close_matches(target, sorted(layers), n=1)
        hint = f" The nearest is {near[0]}." if near else ""
        raise Refused(f"lora_targets: the model has no layer {target}.{hint}")


def _prompted(rows: Any) -> bool:
    return "completion" in rows.column_names


def _nothing_left(options: Options, use: str = "train") -> str:
    return (
        f"No row is left to {use} on: at seq_length {options.seq_length:,} every answer is cut "
        "away. Make seq_length longer."
    )


def check_distribution(trainer: Any, device: Device) -> None:
    """Say how the work is spread, and make sure that it is: a mode that was asked for and not
    taken up trains something else, or the same thing several times into one folder.

    Raises:
        Refused: Processes that do not know of each other, or a sharding that did not happen.
    """
    accelerator = trainer.accelerator
    kind = str(accelerator.distributed_type).rpartition(".")[2]
    numbers = device.weights + (f" weights, {device.autocast} compute" if device.autocast else "")
    count = f"{device.processes} processes ({kind})" if device.processes > 1 else "1 process"
    say(f"device: {device.name}, {count}, {numbers}")
    if accelerator.num_processes != device.processes:
        raise Refused(
            f"{device.processes} processes were started, but this one trains as one of "
            f"{accelerator.num_processes} ({kind}); they would overwrite each other's results."
        )
    wanted = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DEEPSPEED"}
    for variable, name in wanted.items():
        if os.environ.get(variable, "").lower() in ("1", "true") and kind != name:
            raise Refused(f"{variable} asks for {name}, but the processes would train by {kind}.")
    if kind == "FSDP":
        parameter = next(trainer.model_wrapped.parameters())
        if type(parameter).__name__ not in ("DTensor", "FlatParameter"):
            raise Refused("FSDP was set up, but the weights are not sharded.")


def describe_model(trainer: Any, options: Options) -> None:
    """Say how much of the model is trained, and what LoRA does not reach."""
    whole = trained = experts = 0
    for name, weight in trainer.model.named_parameters():
        whole += weight.numel()
        trained += weight.numel() if weight.requires_grad else 0
        if "experts" in name and weight.dim() == 3 and not weight.requires_grad:
            experts += weight.numel()
    if options.method == "lora":
        say(f"LoRA: {trained:,} weights are trained beside {whole - trained:,} that stay")
        if experts:
            say(
                f"  warning: {experts / whole:.0%} of the weights are experts of a mixture, which "
                "LoRA on linear layers does not reach"
            )
    else:
        say(f"full: all {trained:,} weights are trained")


def describe_tokens(trainer: Any, options: Options, rows: int) -> None:
    """Say what tokenising did to the rows: cut, dropped, and how much of them is learnt from."""
    from itertools import islice

    import numpy

    data = trainer.train_dataset
    tokens = learnt = cut = barren = longest = 0
    columns = [name for name in ("labels", "seq_lengths") if name in data.column_names]
    for table in data.select_columns(columns).with_format("arrow").iter(10_000):
        labels = table.column("labels").combine_chunks()
        lengths = labels.value_lengths().to_numpy()
        of = numpy.repeat(numpy.arange(len(lengths)), lengths)[labels.flatten().to_numpy() != -100]
        tokens += int(lengths.sum())
        learnt += len(of)
        barren += len(lengths) - len(numpy.unique(of))
        if options.packing and "seq_lengths" in columns:
            lengths = table.column("seq_lengths").combine_chunks().flatten().to_numpy()
        cut += int((lengths == options.seq_length).sum())
        longest = max(longest, int(lengths.max()))
    say(f"tokens: {tokens:,} in {len(data):,} sequences, {learnt / tokens:.0%} of them learnt")
    if options.packing:
        say(f"  packed: {rows:,} rows into sequences of at most {options.seq_length:,} tokens")
    elif len(data) < rows:
        say(f"  warning: {rows - len(data):,} rows are dropped: nothing of their answer is left")
    if cut:
        say(
            f"  warning: {cut:,} rows end at seq_length {options.seq_length:,} "
            "(cut there, or exactly as long)"
        )
    positions = getattr(trainer.model.config, "max_position_embeddings", None)
    if positions and longest > positions:
        say(f"  warning: rows of up to {longest:,} tokens, the model is made for {positions:,}")
    if options.packing:
        if barren:
            say(f"  warning: {barren:,} sequences hold no answer: their prompts are longer")
        return
    stops = _stops(trainer)
    first = list(islice(data, 1000))
    whole = [row["labels"] for row in first if len(row["labels"]) < options.seq_length]
    endless = sum(_last_learnt(labels) not in stops for labels in whole)
    if endless:
        say(
            f"  warning: {endless:,} of the first {len(first):,} rows do not end in a token that "
            "stops generation; the model may not learn to stop"
        )


def _last_learnt(labels: list[int]) -> int | None:
    return next((label for label in reversed(labels) if label != -100), None)


def _stops(trainer: Any) -> set[int]:
    generation = getattr(trainer.model, "generation_config", None)
    found = getattr(generation, "eos_token_id", None)
    listed = found if isinstance(found, (list, tuple)) else [found]
    return {s for s in (*listed, trainer.processing_class.eos_token_id) if s is not None}


def training_facts(options: Options, rows: Rows, device: Device) -> dict[str, Any]:
    """What a later resume must agree with."""
    lora = options.method == "lora"
    targets = options.lora_targets
    return {
        "model": options.model,
        "method": options.method,
        "lora_rank": options.lora_rank if lora else None,
        "lora_alpha": options.lora_alpha if lora else None,
        "lora_targets": (targets if isinstance(targets, str) else list(targets)) if lora else None,
        "data_digest": rows.digest,
        "eval_share": options.eval_share,
        "seq_length": options.seq_length,
        "packing": options.packing,
        "batch": options.batch,
        "accumulate": options.accumulate,
        "processes": device.processes,
        "seed": options.seed,
    }


# -------------------------------------------------------------------------------------------- main


def train(options: Options) -> int:
    """The whole run. Returns the exit code."""
    model = check_model(options)
    rows, held_out = check_data(options)
    if rows is not None:
        describe(rows, options, "data")
    if held_out is not None:
        describe(held_out, options, "held out")
    check_installed(options)
    folder = artifacts()
    began = time.monotonic()
    say("importing torch, transformers, trl (the first time after an install can take minutes)")
    calm_libraries()
    hide_bars()
    from trl import SFTTrainer as _  # noqa: F401  (the slow one; the rest comes with it)

    say(f"imported in {clock(time.monotonic() - began)}")
    device = choose_device(options)
    train_rows, evaluation, rows = load_data(options, rows, held_out)
    tokenizer = load_tokenizer(model, rows)
    check_template(tokenizer, rows, options)
    check_rendering(tokenizer, rows, options)
    if held_out is not None:
        check_rendering(tokenizer, held_out, options)
    stop, metrics = Stop(), Metrics()
    facts = training_facts(options, rows, device)
    lines = not sys.stdout.isatty()  # a terminal has a progress bar instead
    checkpoint = choose(options.resume, folder, facts, FIXED)
    own = checkpoint is None or checkpoint.parent == folder
    callback = reporter(metrics, stop, lambda path: write_facts(path, facts), lines, own)
    say(f"loading {options.model}")
    trainer = build(options, model, tokenizer, train_rows, evaluation, device, callback)
    check_distribution(trainer, device)
    describe_model(trainer, options)
    describe_tokens(trainer, options, len(train_rows))
    began = time.monotonic()
    stop.listen()
    with contextlib.suppress(NothingLeft):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    stop.release()
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if callback.stopped:
        then = "starts anew (resume=never)" if options.resume == "never" else "goes on from it"
        say(f"stopped at step {step} of {steps}; checkpoint-{step} is saved, retry {then}")
        return STOPPED_EARLY
    if evaluation is not None and _last(trainer, "eval_loss")[0] != step:
        trainer.evaluate()
    save(trainer, tokenizer, folder / "final")
    before = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    here = f", {step - before:,} of them" if before else ""
    summary = [f"done: {step:,} steps{here} in {clock(time.monotonic() - began)}"]
    for name, words in (("loss", "loss"), ("eval_loss", "eval loss")):
        value = _last(trainer, name)[1]
        summary += [f"{words} {value:.4f}"] if value is not None else []
    say(", ".join(summary))
    say(f"the {'adapter' if options.method == 'lora' else 'model'} is in {folder / 'final'}")
    return 0


def _last(trainer: Any, name: str) -> tuple[int | None, float | None]:
    """The step and value at which something was logged last."""
    for log in reversed(trainer.state.log_history):
        if name in log:
            return log["step"], log[name]
    return None, None


def save(trainer: Any, tokenizer: Any, target: Path) -> None:
    """The model as a folder that is whole or not there."""
    import shutil

    fresh = target.with_name(f".{target.name}.partial")
    if trainer.is_world_process_zero():
        shutil.rmtree(fresh, ignore_errors=True)  # left by an attempt that was killed
    trainer.save_model(str(fresh))
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(str(fresh))
        for path in fresh.glob("*.safetensors"):  # made 0600, whatever the umask
            path.chmod(fresh.stat().st_mode & 0o666)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def hide_bars() -> None:
    """No progress bars of loading and mapping in a log."""
    if sys.stdout.isatty():
        return
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()


def main() -> int:
    """Parse, run, and turn what a person can mend into one line and code 2."""
    parser = argparse.ArgumentParser(description="Fine-tune a causal language model.")
    parser.add_argument("--recipe", required=True, metavar="FILE", help="recipe.json")
    try:
        return train(read_options(parser.parse_args().recipe, Options))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return REFUSED


if __name__ == "__main__":
    sys.exit(main())
