"""Findings: the failure that decided, in three lengths, with its evidence and what to try."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from traindeck.console.logs.diagnosis import diagnose
from traindeck.console.logs.failures import ROWS, Kind
from traindeck.console.logs.findings import (
    Finding,
    failure,
    last_step,
    scan,
    sentence,
)
from traindeck.console.logs.widths import width

EVIDENCE = Path(__file__).parent / "evidence"
FUZZED = int(os.environ.get("SOAK", "0")) * 500 or 20_000
"""Records: a million where `make soak` sets SOAK to its 2,000."""


def found_in(data: bytes, **end: int) -> Finding:
    finding = failure(data, **end)
    assert finding is not None
    return finding


# ------------------------------------------------------------------------------- whole logs


def test_out_of_memory_with_its_figures_step_and_own_frame() -> None:
    data = (EVIDENCE / "oom-two-ranks.log").read_bytes()
    finding = found_in(data, exit_code=1)
    assert finding.kind is Kind.DEVICE_MEMORY
    assert finding.reasons[0].startswith("CUDA out of memory at step 412 · 78.3 of 79.2 GiB")
    assert finding.reasons[2] == "CUDA out of memory at step 412"
    assert "nanogpt/attention.py:41" in finding.clauses
    assert finding.rank == 0
    assert finding.happened.startswith("8.0 GiB more were asked for; 912 MiB was free.")
    assert "4.9 GiB was reserved and unused" in finding.happened
    assert finding.tries[0].env == (("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),)
    assert all(attempt.cost for attempt in finding.tries)
    assert finding.evidence.startswith("torch.OutOfMemoryError: CUDA out of memory. Tried")
    line = data[finding.evidence_offset :].partition(b"\n")[0]
    assert line.startswith(b"[rank0]: torch.OutOfMemoryError")
    whole = data[finding.offset : finding.offset + finding.length]
    assert whole.startswith(b"[rank0]: Traceback") and whole.endswith(line)


def test_of_several_ranks_the_one_that_failed_first_decides() -> None:
    """A real torchrun of two ranks: one multiplies wrong shapes, the other loses its peer."""
    data = (EVIDENCE / "torchrun.log").read_bytes()
    finding = found_in(data, exit_code=1)
    assert (finding.kind, finding.rank) == (Kind.SHAPE, 0)
    assert finding.reasons[0] == (
        "matrix shapes do not fit at step 2 · (3x4 and 3x4) · nanogpt/train.py:7 · rank 0"
    )
    kinds = {f.kind for f in scan(data)}
    assert {Kind.PEER, Kind.LAUNCHER} <= kinds


@pytest.mark.parametrize(
    ("code", "kind", "start"),
    [
        (b"-9", Kind.KILLED, "rank 3 was ended by signal 9"),
        (b"-11", Kind.CRASH, "rank 3 was ended by signal 11"),
        (b"1 ", Kind.LAUNCHER, "rank 3 exited with 1"),
    ],
)
def test_where_only_the_launcher_speaks_its_word_counts(
    code: bytes, kind: Kind, start: str
) -> None:
    data = (
        b"step 7\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        b"====\ntrain.py FAILED\n----\nRoot Cause (first observed failure):\n[0]:\n"
        b"  time      : 2026-11-24_16:54:16\n  host      : gpu1\n"
        b"  rank      : 3 (local_rank: 3)\n  exitcode  : " + code + b" (pid: 21659)\n"
        b"  error_file: <N/A>\n  traceback : Signal 9 (SIGKILL) received by PID 21659\n====\n"
    )
    finding = found_in(data, exit_code=1)
    assert (finding.kind, finding.rank) == (kind, 3)
    assert finding.reason(110).startswith(start)


def test_an_error_that_the_run_went_on_from_is_not_what_ended_it() -> None:
    caught = (
        b'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: caught\n'
    )
    steps = b"".join(b"step %d | loss 1.0\n" % n for n in range(3000))
    assert failure(caught + steps, exit_code=1) is None
    killed = found_in(caught + steps, signal=9)
    assert (killed.kind, killed.reason(75)) == (
        Kind.KILLED,
        "ended by signal 9 (KILL) at step 2,999",
    )
    assert found_in(steps + caught + steps[:2000], exit_code=1).kind is Kind.EXCEPTION


CAUGHT = b'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: caught\n'


def test_an_error_is_not_blamed_once_the_run_has_made_further_steps() -> None:
    steps = b"".join(b"step %d | loss 1.0\n" % n for n in range(5, 40))
    bars = b"".join(b"\r 9%%|#  | %d/400 [00:01<00:02]" % n for n in range(5, 40)) + b"\n"
    for more in (steps, bars):
        assert failure(b"step 4\n" + CAUGHT + more, exit_code=1) is None
        real = CAUGHT.replace(b"caught", b"real")
        both = found_in(b"step 4\n" + CAUGHT + more + real, exit_code=1)
        assert both.clauses[0].startswith("ValueError: real")
    few = b"".join(b"step %d | loss 1.0\n" % n for n in range(5, 10))
    assert found_in(b"step 4\n" + CAUGHT + few, exit_code=1), "of ranks that were not told yet"


def test_an_error_that_is_said_again_at_the_end_is_what_ended_it() -> None:
    steps = [b"step %d | loss 1.0\nRuntimeError: CUDA out of memory\n" % n for n in range(60)]
    again = found_in(b"".join(steps), exit_code=1)
    assert again.kind is Kind.DEVICE_MEMORY
    assert found_in(b"".join(steps) + b"giving up\n", exit_code=3).kind is Kind.DEVICE_MEMORY
    further = b"".join(b"step %d | loss 1.0\n" % n for n in range(60, 80))
    assert failure(b"".join(steps) + further, exit_code=1) is None


def test_an_exit_code_of_its_own_long_after_an_error_does_not_blame_it() -> None:
    words = b"".join(b"validated shard %c\n" % (65 + n) for n in range(50))
    assert failure(CAUGHT + words, exit_code=4) is None
    assert found_in(CAUGHT + words, exit_code=1), "as an uncaught exception ends"
    assert found_in(CAUGHT + words[:200] + b"giving up\n", exit_code=4)


@pytest.mark.parametrize(
    "after",
    [
        b"".join(b"wandb:     loss/%d 0.%d\n" % (n, n) for n in range(60))
        + b"wandb: Run history:\nwandb: global_step 1 2 3 4 5 6 7 8 9 10 11 12 13\n",
        b"".join(b"box:4711:4%d [0] NCCL INFO comm destroyed\n" % n for n in range(60)),
        b"[rank0]:[W1124 16:54:16.0 ProcessGroupNCCL.cpp:1496] Warning: not destroyed\n" * 60,
        b"E1124 16:54:16.1 21 elastic/api.py:869] failed (exitcode: 1) local_rank: 0\n" * 60,
        b"2026-11-24 16:54:16 INFO closing shard\n" * 60,
        b"Exception ignored in atexit callback: <function finish at 0x7f>\n" + CAUGHT,
        b"saved the last state\n" * 20,
    ],
    ids=["wandb", "nccl", "process group", "elastic", "logger", "atexit", "exit handler"],
)
def test_what_is_said_while_a_failed_program_ends_does_not_hide_why(after: bytes) -> None:
    real = b"step 4\n" + CAUGHT.replace(b"caught", b"real") + after
    for code in (1, 4):
        assert found_in(real, exit_code=code).clauses[0].startswith("ValueError: real")


def test_the_launchers_own_end_does_not_hide_what_failed_below_it() -> None:
    launcher = (
        b'Traceback (most recent call last):\n  File "/venv/bin/accelerate", line 8, in <module>\n'
        b"    sys.exit(main())\nsubprocess.CalledProcessError: Command '['python', 'a.py']' "
        b"returned non-zero exit status 1.\n"
    )
    real = CAUGHT.replace(b"caught", b"real")
    assert found_in(real + launcher, exit_code=1).clauses[0].startswith("ValueError: real")


def test_an_ignored_exception_at_the_end_does_not_hide_the_real_one() -> None:
    data = (
        b'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: real\n'
        b"Exception ignored in: <function X.__del__>\nTraceback (most recent call last):\n"
        b'  File "b.py", line 1, in g\nTypeError: at exit\n'
    )
    assert found_in(data, exit_code=1).clauses[0] == "ValueError: real"


def test_the_more_telling_of_two_chained_exceptions_gives_the_reason() -> None:
    data = (
        b'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    import trl\n'
        b"ModuleNotFoundError: No module named 'trl'\n\n"
        b"The above exception was the direct cause of the following exception:\n\n"
        b'Traceback (most recent call last):\n  File "a.py", line 9, in g\nRuntimeError: start-up\n'
    )
    finding = found_in(data, exit_code=1)
    assert finding.kind is Kind.IMPORT and finding.offset == 0
    assert finding.length == len(data) - 1


@pytest.mark.parametrize(
    "joint",
    [
        b"The above exception was the direct cause of the following exception:",
        b"During handling of the above exception, another exception occurred:",
    ],
)
def test_a_chained_exception_is_said_with_its_cause_where_both_fit(joint: bytes) -> None:
    data = (
        b'step 7\nTraceback (most recent call last):\n  File "a.py", line 1, in f\n'
        b"KeyError: 'labels'\n\n" + joint + b"\n\n"
        b'Traceback (most recent call last):\n  File "a.py", line 9, in g\n'
        b"lib.errors.LoadError: row 3 cannot be read\n"
    )
    finding = found_in(data, exit_code=1)
    whole = "LoadError: row 3 cannot be read (from KeyError: 'labels') at step 7"
    assert finding.reason(110).startswith(whole)
    assert finding.reason(len(whole)) == whole
    assert finding.reason(45).startswith("the key labels is missing at step 7")
    assert "a.py:9" in finding.reason(110) and "a.py:1 " not in finding.reason(110) + " "
    bare = failure(data, exit_code=1, at_step=False)
    assert bare is not None and "step" not in bare.reason(110)


def test_without_a_word_in_the_log_the_signal_speaks() -> None:
    assert failure(b"step 1\n", exit_code=1) is None
    assert failure(b"", exit_code=3) is None
    for end in ({"signal": 11}, {"exit_code": 139}):
        finding = found_in(b"step 1\nlast words\n", **end)
        assert finding.kind is Kind.CRASH and finding.evidence == "last words"
        assert finding.tries[0].env == (("PYTHONFAULTHANDLER", "1"),)
    assert found_in(b"", signal=9).kind is Kind.KILLED


def test_what_the_metrics_know_of_the_step_goes_before_what_the_log_says() -> None:
    data = b'step 3\nTraceback (most recent call last):\n  File "a", line 1, in f\nValueError: x\n'
    assert found_in(data, step=412).clauses[0] == "ValueError: x at step 412"
    assert found_in(data).clauses[0] == "ValueError: x at step 3"


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (b"step   330 | loss 3.2", 330),
        (b"iter 12: loss 4.1\niter 13: loss", 13),
        (b"global_step=1,234 x", 1234),
        (b" 41%|####      | 412/1000 [00:10<00:20]", 412),
        (b"[step 7] a\n 10%|#  | 9/90 [00:01<", 9),
        (b"nothing at all", None),
        (b"step 99999999999999999999", None),
    ],
)
def test_the_last_step_is_read_from_what_stands_before(text: bytes, step: int | None) -> None:
    assert last_step(text) == step


# ------------------------------------------------------------------------ the table, row by row

MESSAGES = [
    (
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 55.57 GiB. GPU 0 has "
        "a total capacty of 12.00 GiB of which 9.02 GiB is free. Of the allocated memory 984.52 "
        "MiB is allocated by PyTorch, and 463.48 MiB is reserved by PyTorch but unallocated.",
        Kind.DEVICE_MEMORY,
        "CUDA out of memory · 3.0 of 12.0 GiB",
    ),
    (
        "RuntimeError: CUDA out of memory. Tried to allocate 2.26 GiB (GPU 0; 6.00 GiB total "
        "capacity; 781.59 MiB already allocated; 3.03 GiB free; 1.24 GiB reserved in total by "
        "PyTorch)",
        Kind.DEVICE_MEMORY,
        "CUDA out of memory · 3.0 of 6.0 GiB",
    ),
    (
        "OutOfMemoryError: HIP out of memory. Tried to allocate 1.00 GiB.",
        Kind.DEVICE_MEMORY,
        "HIP out of memory",
    ),
    (
        "RuntimeError: MPS backend out of memory (MPS allocated: 8.93 GB, other allocations: 1.00 "
        "GB, max allowed: 9.07 GB). Tried to allocate 256 bytes",
        Kind.DEVICE_MEMORY,
        "MPS out of memory · 8.93 GB of 9.07 GB",
    ),
    (
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        Kind.DEVICE_MEMORY,
        "CUDA out of memory",
    ),
    (
        "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
        "allocate memory: you tried to allocate 400000000000000 bytes. Error code 12",
        Kind.HOST_MEMORY,
        "out of host memory · 364 TiB asked for",
    ),
    (
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB for an array with "
        "shape (1000000, 1000000) and data type float64",
        Kind.HOST_MEMORY,
        "out of host memory · 7.28 TiB asked for an array of shape (1000000, 1000000)",
    ),
    ("MemoryError", Kind.HOST_MEMORY, "out of host memory"),
    (
        "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have "
        "been OOM Killed.",
        Kind.HOST_MEMORY,
        "killed for its memory",
    ),
    (
        "RuntimeError: DataLoader worker (pid 4312) is killed by signal: Bus error. It is possible "
        "that dataloader's workers are out of shared memory.",
        Kind.HOST_MEMORY,
        "a data loader worker was killed",
    ),
    (
        "OSError: [Errno 28] No space left on device: '/scratch/ckpt/model.safetensors'",
        Kind.DISK,
        "disk full · /scratch/ckpt/model.safetensors",
    ),
    ("OSError: [Errno 28] No space left on device", Kind.DISK, "disk full"),
    ("OSError: [Errno 122] Disk quota exceeded", Kind.DISK, "disk quota exceeded"),
    (
        "RuntimeError: CUDA error: device-side assert triggered",
        Kind.DEVICE,
        "CUDA device-side assert",
    ),
    (
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        Kind.DEVICE,
        "CUDA illegal memory access",
    ),
    (
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        Kind.DEVICE,
        "this PyTorch has no kernels for this GPU",
    ),
    (
        "AssertionError: Torch not compiled with CUDA enabled",
        Kind.DEVICE,
        "this PyTorch was built without CUDA",
    ),
    (
        "RuntimeError: CUDA error: unspecified launch failure",
        Kind.DEVICE,
        "CUDA error · unspecified launch failure",
    ),
    (
        "ValueError: Your setup doesn't support bf16/gpu. You need Ampere+ GPU with cuda>=11.0",
        Kind.DEVICE,
        "this device does not support bf16",
    ),
    (
        "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1580, "
        "OpType=ALLREDUCE, NumelIn=466119168, NumelOut=466119168, Timeout(ms)=600000) ran for "
        "600060 milliseconds before timing out.",
        Kind.COLLECTIVE_TIMEOUT,
        "NCCL ALLREDUCE timed out after 10 min · collective 1580",
    ),
    (
        "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 "
        "clients joined.",
        Kind.COLLECTIVE_TIMEOUT,
        "rendezvous timed out after 601 s · 1 of 2 ranks came",
    ),
    (
        "torch.distributed.DistBackendError: NCCL error in: /pytorch/torch/csrc/distributed/c10d/"
        "ProcessGroupNCCL.cpp:3699, unhandled cuda error (run with NCCL_DEBUG=INFO for details), "
        "NCCL version 2.27.3",
        Kind.COLLECTIVE,
        "NCCL error · unhandled cuda error",
    ),
    (
        "RuntimeError: [/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:58.",
        Kind.PEER,
        "the connection to another rank broke",
    ),
    (
        "torch.distributed.DistNetworkError: The server socket has failed to listen on any local "
        "network address. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE",
        Kind.COLLECTIVE,
        "the process group failed",
    ),
    ("OSError: [Errno 98] Address already in use", Kind.PORT, "the port is in use already"),
    (
        "ModuleNotFoundError: No module named 'trl.experimental'",
        Kind.IMPORT,
        "no module named trl.experimental",
    ),
    ("/usr/bin/python3: No module named nomod", Kind.IMPORT, "no module named nomod"),
    (
        "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
        Kind.IMPORT,
        "the library libcudart.so.12 is missing",
    ),
    (
        "ImportError: cannot import name 'x' from 'y' (unknown location)",
        Kind.IMPORT,
        "import failed · cannot import name 'x' from 'y' (unknown location)",
    ),
    (
        "python: can't open file '/home/ada/tran.py': [Errno 2] No such file or directory",
        Kind.FILE,
        "the script /home/ada/tran.py does not exist",
    ),
    (
        "python: can't open file '/big/deck/runs/1sjb3wrv0001/code/tran.py': [Errno 2] No such",
        Kind.FILE,
        "the script code/tran.py does not exist",
    ),
    (
        "FileNotFoundError: [Errno 2] No such file or directory: 'data/train.jsonl'",
        Kind.FILE,
        "no such file · data/train.jsonl",
    ),
    (
        "PermissionError: [Errno 13] Permission denied: '/data/x'",
        Kind.FILE,
        "permission denied · /data/x",
    ),
    ("bash: line 1: torchrunn: command not found", Kind.PROGRAM, "torchrunn: command not found"),
    ("/bin/sh: 1: accelerate: not found", Kind.PROGRAM, "accelerate: command not found"),
    (
        "OSError: meta/llama is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'",
        Kind.HUB,
        "model meta/llama was found neither here nor on the hub",
    ),
    (
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't "
        "find them in the cached files.",
        Kind.HUB,
        "the model hub could not be reached",
    ),
    (
        "ValueError: Cannot use chat template functions because tokenizer.chat_template is not set "
        "and no template argument was passed!",
        Kind.TOKENIZER,
        "the tokenizer has no chat template",
    ),
    (
        "ValueError: Asking to pad but the tokenizer does not have a padding token.",
        Kind.TOKENIZER,
        "the tokenizer has no padding token",
    ),
    (
        "ValueError: Unable to create tensor, you should probably activate truncation and/or "
        "padding",
        Kind.DATA,
        "rows of different lengths in one batch",
    ),
    (
        "json.decoder.JSONDecodeError: Expecting ',' delimiter: line 3 column 12 (char 40)",
        Kind.DATA,
        "broken JSON at line 3, column 12 · Expecting ',' delimiter",
    ),
    ("KeyError: 'text'", Kind.DATA, "the key text is missing"),
    (
        "IndexError: index out of range in self",
        Kind.SHAPE,
        "a token id is beyond the embedding table",
    ),
    (
        "RuntimeError: Error(s) in loading state_dict for LlamaForCausalLM: Missing key(s) size "
        "mismatch for model.embed_tokens.weight: copying a param with shape torch.Size([9, 16]) "
        "from checkpoint, the shape in current model is torch.Size([8, 16]).",
        Kind.SHAPE,
        "the checkpoint does not fit LlamaForCausalLM · model.embed_tokens.weight is [9, 16], not "
        "[8, 16]",
    ),
    (
        "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn",
        Kind.SHAPE,
        "nothing to train",
    ),
    (
        "Fatal Python error: Segmentation fault",
        Kind.CRASH,
        "the interpreter crashed · Segmentation fault",
    ),
    (
        "bash: 22980 Segmentation fault      python seg.py",
        Kind.CRASH,
        "the process crashed · Segmentation fault",
    ),
    (
        "./run.sh: line 3:  4242 Killed                  python train.py",
        Kind.KILLED,
        "killed from outside",
    ),
    (
        "train.py: error: unrecognized arguments: --lrate 3",
        Kind.ARGUMENTS,
        "wrong arguments · unrecognized arguments: --lrate 3",
    ),
    ("Loss is nan, stopping training", Kind.NOT_FINITE, "the loss is not finite"),
    ("AssertionError", Kind.ASSERTION, "assertion failed"),
    (
        "AssertionError: vocabulary too small",
        Kind.ASSERTION,
        "assertion failed · vocabulary too small",
    ),
    ("KeyboardInterrupt", Kind.INTERRUPT, "interrupted from outside"),
]


@pytest.mark.parametrize(("message", "kind", "start"), MESSAGES)
def test_known_messages_are_told_in_plain_words(message: str, kind: Kind, start: str) -> None:
    head, _, rest = message.partition(": ")
    short = head.rpartition(".")[2] if " " not in head and "/" not in head else head
    known = diagnose(f"{short}: {rest}" if rest else short)
    assert known is not None
    assert known.kind is kind
    assert " · ".join(known.clauses).startswith(start)
    assert all("{" not in text for text in (*known.clauses, known.happened))


def test_every_row_of_the_table_is_reached_by_some_message() -> None:
    """What no message here matches is a row nobody has evidence for."""
    reached = set()
    for message, _, _ in MESSAGES:
        for row in ROWS:
            if row.pattern.search(message):
                reached.add(row)
    missing = [row.pattern.pattern for row in ROWS if row not in reached]
    known_without_a_recording = 22
    assert len(missing) <= known_without_a_recording, missing


def test_what_no_row_knows_is_told_in_its_own_words() -> None:
    data = b'Traceback (most recent call last):\n  File "a", line 1, in f\nzmq.error.Again: busy\n'
    assert found_in(data).clauses[0] == "Again: busy"


# ------------------------------------------------------------------- real programs that fail here


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["-c", "import nothere"], Kind.IMPORT),
        (["-m", "nothere"], Kind.IMPORT),
        (["/nowhere/train.py"], Kind.FILE),
        (["-c", "open('/nowhere/x')"], Kind.FILE),
        (["-c", "assert 0, 'no'"], Kind.ASSERTION),
        (["-c", "{}['text']"], Kind.DATA),
        (["-c", "raise RuntimeError('odd')"], Kind.EXCEPTION),
        (["-c", "import json; json.loads('{')"], Kind.DATA),
        (["-c", "import argparse; argparse.ArgumentParser().parse_args(['--x'])"], Kind.ARGUMENTS),
        (["-X", "faulthandler", "-c", "import os; os.kill(os.getpid(), 11)"], Kind.CRASH),
        (["-c", "bytearray(1 << 60)"], Kind.HOST_MEMORY),
        (["-c", "open('/dev/full', 'w', buffering=1).write('x\\n')"], Kind.DISK),
        (["-c", "x = ("], Kind.EXCEPTION),
    ],
)
def test_failures_of_real_programs(arguments: list[str], kind: Kind) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode != 0
    finding = found_in(done.stdout, exit_code=done.returncode)
    assert finding.kind is kind
    assert finding.evidence


# ----------------------------------------------------------------------------- lengths and fuzz


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=5), st.integers(10, 120))
def test_a_sentence_fits_its_width_and_is_never_cut_inside_a_later_clause(
    clauses: list[str], size: int
) -> None:
    clauses = [c.encode("utf-8", "replace").decode() for c in clauses]
    clauses = [
        "".join(ch for ch in c if ch.isprintable() and ch not in "\ufe0f\u200d") for c in clauses
    ]
    text = sentence(clauses, size)
    assert cell_len(text) <= size
    if not text.endswith("…") or clauses[0].endswith("…"):
        assert any(text == " · ".join(clauses[:n]) for n in range(1, len(clauses) + 1))


@pytest.mark.slow
def test_any_record_is_read_without_harm() -> None:
    """Seeded records from pieces of real failures and noise; a million in `make soak`."""
    rng = random.Random(11)
    pieces = [message.encode() for message, _, _ in MESSAGES] + [
        b"Traceback (most recent call last):",
        b'  File "/a/b.py", line 3, in f',
        b"    source()",
        b"\x1b[31m",
        b"[rank1]: ",
        b"Root Cause (first observed failure):\n[0]:\n  rank      : 1\n  exitcode  : -9\n",
        b"\xff\xfe\x00",
        b"",
    ]
    records = before = 0
    while records < FUZZED:
        if records > FUZZED // 4 and not before:
            before = getrusage(RUSAGE_SELF).ru_maxrss
        count = rng.randrange(1, 60)
        data = b"\n".join(
            rng.choice(pieces) if rng.random() < 0.7 else rng.randbytes(rng.randrange(30))
            for _ in range(count)
        )
        records += count
        for finding in scan(data, 7):
            assert 7 <= finding.offset <= finding.evidence_offset < 7 + len(data) + 1
            assert finding.offset + finding.length <= 7 + len(data)
            assert finding.clauses and all(finding.clauses)
            assert all(width(c) >= 0 for text in finding.reasons for c in text)
            assert all(
                cell_len(text) <= n for text, n in zip(finding.reasons, (110, 75, 45), strict=True)
            )
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 16 << 10, "it grows with what it reads"


def test_a_megabyte_of_anything_is_read_in_bounded_time() -> None:
    for piece in (
        b"Error: ",
        b"x" * 70_000 + b"Error\n",
        b"a: " * 30 + b"\n",
        b"/" * 90 + b"\n",
        b"KeyError: '\n",
        b"NCCL error \n",
        b"size mismatch for ",
        b"Connection \n",
        b'  File "a", line 1, in f\n',
        b"Traceback (most recent call last):\n",
    ):
        scan(piece * ((1 << 20) // len(piece)))
