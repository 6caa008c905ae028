"""What is known about the ways in which training runs fail: how they read, what they mean, what to
try and what that costs.

A table, applied to one message at a time (an exception's type and text, or a line). Adding a
failure is adding a row and a line of evidence to its test. The patterns see at most a few kilobytes
and have bounded repetitions only. What a try costs is said where it is known, and left out where it
is not.
"""

from __future__ import annotations

import re
from enum import StrEnum

from traindeck.backends.data import dataclass


class Kind(StrEnum):
    """What sort of failure it is. The names are stable: they go into `--json`."""

    DEVICE_MEMORY = "device-memory"
    HOST_MEMORY = "host-memory"
    DEVICE = "device"
    COLLECTIVE_TIMEOUT = "collective-timeout"
    COLLECTIVE = "collective"
    PEER = "peer"
    KILLED = "killed"
    CRASH = "crash"
    IMPORT = "import"
    FILE = "file"
    PROGRAM = "program"
    DISK = "disk"
    HUB = "hub"
    TOKENIZER = "tokenizer"
    DATA = "data"
    SHAPE = "shape"
    ARGUMENTS = "arguments"
    PORT = "port"
    ASSERTION = "assertion"
    NOT_FINITE = "not-finite"
    INTERRUPT = "interrupt"
    LAUNCHER = "launcher"
    EXCEPTION = "exception"


SECONDARY = frozenset({Kind.PEER, Kind.LAUNCHER, Kind.COLLECTIVE_TIMEOUT, Kind.INTERRUPT})
"""Kinds that usually follow from a failure elsewhere: shown only if nothing else is found."""


@dataclass(frozen=True, slots=True)
class Try:
    """Something to try next.

    Attributes:
        text: What to do, as an imperative.
        cost: What it costs, if that is known.
        env: Variables that do it, for a retry with `--env`.
    """

    text: str
    cost: str = ""
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one message means.

    Attributes:
        clauses: The reason in clauses, the cause first; each can stand without those after it.
        happened: One or two sentences for a person who has not read the log.
    """

    kind: Kind
    clauses: tuple[str, ...]
    happened: str = ""
    tries: tuple[Try, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A failure that one pattern tells. `{0}` … in the texts are its groups."""

    kind: Kind
    pattern: re.Pattern[str]
    clauses: tuple[str, ...]
    happened: str = ""
    tries: tuple[Try, ...] = ()


def _row(
    kind: Kind, pattern: str, clauses: str, happened: str = "", *tries: Try | tuple[str, str] | str
) -> Row:
    made = tuple(
        t if isinstance(t, Try) else Try(t) if isinstance(t, str) else Try(*t) for t in tries
    )
    return Row(kind, re.compile(pattern), tuple(clauses.split(" · ")), happened, made)


SMALLER = (
    Try("halve the batch per device and double accumulation", "same result, a little slower"),
    Try("turn on activation checkpointing", "about a third slower"),
    Try("shorten the longest sequences", "what is cut is not learned"),
)

ROWS: tuple[Row, ...] = (
    # The first row that matches is taken. An allocator's refusal on CUDA has figures of its own:
    # see `diagnosis`.
    # ------------------------------------------------------------------------------ memory, disk
    _row(
        Kind.DEVICE_MEMORY,
        r"MPS backend out of memory \(MPS allocated: ([\d.]+ [KMGT]?B).{0,200}?"
        r"max allowed: ([\d.]+ [KMGT]?B)\)",
        "MPS out of memory · {0} of {1}",
        "The model and its activations need more than the device may use.",
        *SMALLER,
    ),
    _row(
        Kind.DEVICE_MEMORY,
        r"CUBLAS_STATUS_ALLOC_FAILED",
        "CUDA out of memory · cuBLAS could not allocate its workspace",
        "The device was full when a matrix product needed a workspace.",
        *SMALLER,
    ),
    _row(
        Kind.DEVICE_MEMORY,
        r"RESOURCE_EXHAUSTED: Out of memory|OOM when allocating tensor",
        "device out of memory",
        "An array did not fit onto the device beside what is there.",
        *SMALLER,
    ),
    _row(
        Kind.DEVICE_MEMORY,
        r"No available memory for the cache blocks",
        "no device memory left for the KV cache",
        "The weights fill the share of the device that vLLM may use.",
        "raise gpu_memory_utilization, or lower max_model_len",
    ),
    _row(
        Kind.HOST_MEMORY,
        r"DefaultCPUAllocator: can't allocate memory: you tried to allocate (\d{1,20}) bytes",
        "out of host memory · {0:bytes} asked for",
        "A tensor of {0:bytes} does not fit into this machine's memory.",
        "look at the shape of what is allocated there",
        "load in pieces, or memory-map",
    ),
    _row(
        Kind.HOST_MEMORY,
        r"Unable to allocate ([\d.]+ [KMGTPE]iB) for an array with shape (\([\d, ]{1,80}\))",
        "out of host memory · {0} asked for an array of shape {1}",
        "An array of {0} does not fit into this machine's memory.",
        "load in pieces, or memory-map",
    ),
    _row(
        Kind.HOST_MEMORY,
        r"DataLoader worker \(pid[^)]{0,40}\) is killed by signal: (Killed|Bus error)",
        "a data loader worker was killed · {0}",
        "Most often the machine ran out of memory (Killed) or of shared memory (Bus error).",
        ("use fewer data loader workers", "slower loading"),
        "give the container more shared memory (--shm-size)",
    ),
    _row(
        Kind.HOST_MEMORY,
        r"unable to open shared memory|out of shared memory|unable to write to file </torch_",
        "out of shared memory",
        "Data loader workers pass batches through /dev/shm, and it is full.",
        "give the container more shared memory (--shm-size)",
        ("use fewer data loader workers", "slower loading"),
    ),
    _row(
        Kind.HOST_MEMORY,
        r"oom[_-]kill|Out of memory: Killed process",
        "killed for its memory · out of host memory",
        "The machine or the job's memory limit was exceeded, and the kernel ended a process.",
        "ask for more memory for the job",
        ("use fewer data loader workers", "slower loading"),
    ),
    _row(
        Kind.HOST_MEMORY,
        r"^MemoryError|Cannot allocate memory|std::bad_alloc",
        "out of host memory",
        "The machine had no memory left to give.",
        "load in pieces, or memory-map",
    ),
    _row(
        Kind.DISK,
        r"No space left on device(?:: '([^']{1,300})')?",
        "disk full · {0}",
        "Nothing more could be written; the last checkpoint may be incomplete.",
        "free space, then retry from the last complete checkpoint",
        "keep fewer checkpoints (save_total_limit)",
    ),
    _row(
        Kind.DISK,
        r"Disk quota exceeded",
        "disk quota exceeded",
        "Your share of this file system is full.",
        "free space or write to a scratch disk, then retry",
    ),
    # -------------------------------------------------------------------------------- the device
    _row(
        Kind.DEVICE,
        r"device-side assert triggered",
        "CUDA device-side assert · an index is out of range",
        "A kernel saw a value that it may not: most often a label or token id beyond the table it"
        " indexes. The frame shown is where it was noticed, not where it happened.",
        Try(
            "run again synchronously to see the right frame",
            "slower",
            (("CUDA_LAUNCH_BLOCKING", "1"),),
        ),
        "compare the largest token id and label with vocabulary and classes",
    ),
    _row(
        Kind.DEVICE,
        r"an illegal memory access was encountered",
        "CUDA illegal memory access",
        "A kernel touched memory that is not its own. The frame shown is where it was noticed.",
        Try(
            "run again synchronously to see the right frame",
            "slower",
            (("CUDA_LAUNCH_BLOCKING", "1"),),
        ),
    ),
    _row(
        Kind.DEVICE,
        r"no kernel image is available for execution",
        "this PyTorch has no kernels for this GPU",
        "The installed build does not cover the device's architecture.",
        "install a build for this CUDA architecture",
    ),
    _row(
        Kind.DEVICE,
        r"uncorrectable ECC error|double bit ECC",
        "the GPU reported an uncorrectable memory error",
        "The device's memory is damaged or needs a reset; the same code runs elsewhere.",
        "retry on another device, and report this one",
    ),
    _row(
        Kind.DEVICE,
        r"Found no NVIDIA driver|CUDA driver version is insufficient|driver .{0,40}is too old",
        "the NVIDIA driver is missing or too old for this PyTorch",
        "The environment's CUDA needs a newer driver than the machine has.",
        "install a PyTorch for this driver's CUDA version",
    ),
    _row(
        Kind.DEVICE,
        r"Torch not compiled with CUDA enabled",
        "this PyTorch was built without CUDA",
        "The code asks for a GPU, and the environment has a CPU-only PyTorch.",
        "install a CUDA build of PyTorch, or run on CPU",
    ),
    _row(
        Kind.DEVICE,
        r"invalid device ordinal",
        "a GPU was asked for that is not there",
        "The device index is beyond those visible to the run.",
        "compare the index with CUDA_VISIBLE_DEVICES and --gpus",
    ),
    _row(
        Kind.DEVICE,
        r"Your setup doesn't support bf16/gpu|Bfloat16 is only supported on",
        "this device does not support bf16",
        "bf16 was asked for, and there is no device that has it.",
        ("use fp32 (or fp16)", "more memory (fp32), or loss scaling (fp16)"),
    ),
    _row(
        Kind.DEVICE,
        r"FlashAttention only supports Ampere",
        "FlashAttention needs an Ampere GPU or newer",
        "This device is older than the attention kernels that were asked for.",
        ("use attn_implementation=sdpa", "slower, more memory"),
    ),
    _row(
        Kind.DEVICE,
        r"Cannot re-initialize CUDA in forked subprocess",
        "CUDA was used before a fork",
        "A worker process was forked after the parent had touched the GPU.",
        "start workers with the spawn method, or touch CUDA only in the workers",
    ),
    _row(Kind.DEVICE, r"(?:CUDA|HIP) error: ([^\n]{1,120})", "CUDA error · {0}"),
    # ---------------------------------------------------------------------------- between ranks
    _row(
        Kind.COLLECTIVE_TIMEOUT,
        r"Watchdog caught collective operation timeout: WorkNCCL\(SeqNum=(\d{1,12}), "
        r"OpType=(\w{1,40}).{0,200}?Timeout\(ms\)=(\d{1,12})",
        "NCCL {1} timed out after {2:ms} · collective {0}",
        "At least one rank did not reach collective {0} ({1}) within {2:ms}: it hung, died, or went"
        " another way through the code.",
        "look at the rank that is absent from these messages: its last line tells where it was",
        Try("let NCCL say more", "", (("NCCL_DEBUG", "INFO"), ("TORCH_NCCL_DUMP_ON_TIMEOUT", "1"))),
        ("raise the timeout if a rank was only slow", "a true hang is noticed later"),
    ),
    _row(
        Kind.COLLECTIVE_TIMEOUT,
        r"Timed out after (\d{1,9}) seconds waiting for clients\. (\d{1,6})/(\d{1,6}) clients",
        "rendezvous timed out after {0} s · {1} of {2} ranks came",
        "The other processes did not start, or cannot reach the master's address.",
        "see whether every node started, and whether MASTER_ADDR:MASTER_PORT can be reached",
    ),
    _row(
        Kind.PEER,
        r"Connection (?:closed|reset) by (?:remote )?peer|failed to recv, got 0 bytes|Broken pipe"
        r"|Socket (?:Timeout|closed)|NCCL communicator was aborted",
        "the connection to another rank broke",
        "Another rank ended first; its own message is the cause.",
        "look at the first rank that failed",
    ),
    _row(
        Kind.COLLECTIVE,
        r"NCCL error[^\n]{0,300}?(unhandled [a-z]{1,20} error|invalid usage|internal error"
        r"|remote process exited[^,\n]{0,60})",
        "NCCL error · {0}",
        "A collective could not be carried out.",
        Try("let NCCL say what failed", "", (("NCCL_DEBUG", "INFO"),)),
        "check the network interface NCCL chose (NCCL_SOCKET_IFNAME)",
    ),
    _row(
        Kind.COLLECTIVE,
        r"DistBackendError|DistNetworkError|DistStoreError",
        "the process group failed",
        "",
        Try("let NCCL say what failed", "", (("NCCL_DEBUG", "INFO"),)),
    ),
    _row(
        Kind.PORT,
        r"EADDRINUSE|[Aa]ddress already in use",
        "the port is in use already",
        "Another process, perhaps another run of the same launcher, listens there.",
        "let the launcher choose: torchrun --standalone, or another --master-port",
    ),
    # ------------------------------------------------------------------- environment and files
    _row(
        Kind.IMPORT,
        r"No module named '?([\w.]{1,200})'?",
        "no module named {0}",
        "The environment that the run used has nothing that provides {0}.",
        "install it into that environment",
        "launch from the environment that has it",
    ),
    _row(
        Kind.IMPORT,
        r"ImportError: (lib[\w.+-]{1,100}): cannot open shared object file",
        "the library {0} is missing",
        "A compiled package needs {0}, and the loader does not find it.",
        "load the module or add its folder to LD_LIBRARY_PATH",
    ),
    _row(
        Kind.IMPORT,
        r"flash_attn|FlashAttention2? has been toggled on, but it cannot be used",
        "FlashAttention was asked for and is not installed",
        "",
        ("use attn_implementation=sdpa", "slower for long sequences"),
        "install flash-attn into the run's environment",
    ),
    _row(Kind.IMPORT, r"^ImportError: (.{1,160})", "import failed · {0}"),
    _row(
        Kind.FILE,
        r"can't open file '([^'\n]{1,400})'",
        "the script {0:path} does not exist",
        "The interpreter was started and found no such file.",
        "check the path against the run's working directory",
    ),
    _row(
        Kind.FILE,
        r"\[Errno 2\] No such file or directory: b?'([^'\n]{1,400})'",
        "no such file · {0:path}",
        "{0} does not exist where the run executes.",
        "check the path against the run's working directory",
    ),
    _row(
        Kind.FILE,
        r"\[Errno 13\] Permission denied: b?'([^'\n]{1,400})'",
        "permission denied · {0:path}",
        "The run's user may not open {0}.",
    ),
    _row(
        Kind.FILE,
        r"Too many open files",
        "too many open files",
        "The process reached its limit of open descriptors.",
        "raise it (ulimit -n), or use fewer data loader workers",
    ),
    _row(
        Kind.PROGRAM,
        r"(?:^|: )([\w./+-]{1,120}): command not found"
        r"|: \d{1,4}: ([\w./+-]{1,120}): not found$"
        r"|exec: \"([\w./+-]{1,120})\": executable file not found",
        "{any}: command not found",
        "There is no program {any} on the PATH of the run.",
        "launch from the environment that has it, or give its full path",
    ),
    # --------------------------------------------------------------- hub, tokenizer, data, shapes
    _row(
        Kind.HUB,
        r"(?<!\S)(\S{1,200}) is not a local folder and is not a valid model identifier",
        "model {0} was found neither here nor on the hub",
        "There is no folder {0} and no public model of that name, or it needs a login.",
        "check the name; for a private model pass --secret HF_TOKEN",
    ),
    _row(
        Kind.HUB,
        r"gated repo|Access to model (\S{1,200}) is restricted|You are trying to access a gated",
        "the model is gated · {0}",
        "Its owner wants a request before anyone may download it.",
        "ask for access on its page, then pass --secret HF_TOKEN",
    ),
    _row(
        Kind.HUB,
        r"We couldn't connect to 'https://huggingface\.co'|LocalEntryNotFoundError"
        r"|OfflineModeIsEnabled|outgoing traffic has been disabled",
        "the model hub could not be reached · not in the cache",
        "The files are not in this machine's cache, and it has no way to the hub.",
        "download on a machine that can, or give a local folder",
    ),
    _row(
        Kind.TOKENIZER,
        r"chat_template is not set|No chat template is set|chat_template.{0,40} is null",
        "the tokenizer has no chat template",
        "Conversations were given, and the model's tokenizer does not say how to write them.",
        "start from the instruct variant, or set a chat template",
        ("use prompt/completion data", "the format is then yours to keep at inference"),
    ),
    _row(
        Kind.TOKENIZER,
        r"tokenizer does not have a padding token",
        "the tokenizer has no padding token",
        "Batches cannot be padded.",
        ("set pad_token to a spare token", "equal to eos hides the end from the loss"),
    ),
    _row(
        Kind.TOKENIZER,
        r"Couldn't instantiate the backend tokenizer",
        "the tokenizer could not be built",
        "Its files need a package that is missing, most often sentencepiece or tiktoken.",
        "install sentencepiece and tiktoken into the run's environment",
    ),
    _row(
        Kind.DATA,
        r"Unable to create tensor, you should probably activate truncation and/or padding",
        "rows of different lengths in one batch",
        "The collator got examples that were neither padded nor cut.",
        "turn on padding and truncation in the tokenizer call",
    ),
    _row(
        Kind.DATA,
        r"JSONDecodeError: (.{1,80}): line (\d{1,12}) column (\d{1,9})",
        "broken JSON at line {1}, column {2} · {0}",
        "",
        "fix that line of the data, or convert to one JSON object a line",
    ),
    _row(
        Kind.DATA,
        r"^KeyError: '?([^'\n]{1,120})'?",
        "the key {0} is missing",
        "A column or setting of that name was expected.",
        "compare with the columns of the data",
    ),
    _row(
        Kind.SHAPE,
        r"index out of range in self",
        "a token id is beyond the embedding table",
        "Tokenizer and model do not belong together, or tokens were added without resizing.",
        "resize the embeddings after adding tokens, or use the model's own tokenizer",
    ),
    _row(
        Kind.SHAPE,
        r"Error\(s\) in loading state_dict for (\w{1,80}).{0,3000}?"
        r"size mismatch for ([\w.]{1,120}): copying a param with shape (?:torch\.Size\()?"
        r"(\[[\d, ]{0,60}\])\)? from checkpoint, the shape in current model is"
        r" (?:torch\.Size\()?(\[[\d, ]{0,60}\])",
        "the checkpoint does not fit {0} · {1} is {2}, not {3}",
        "The checkpoint was made with other sizes than the model that is loading it.",
        "build the model from the checkpoint's own configuration",
    ),
    _row(
        Kind.SHAPE,
        r"Error\(s\) in loading state_dict for (\w{1,80})",
        "the checkpoint does not fit {0}",
        "Its keys and the model's are not the same.",
        "build the model from the checkpoint's own configuration",
    ),
    _row(
        Kind.SHAPE,
        r"mat1 and mat2 shapes cannot be multiplied (\([\dx and]{1,60}\))",
        "matrix shapes do not fit · {0}",
    ),
    _row(
        Kind.SHAPE,
        r"Expected all tensors to be on the same device",
        "tensors on different devices",
        "A tensor was left on another device than the model.",
        "move the batch to the model's device",
    ),
    _row(
        Kind.SHAPE,
        r"element 0 of tensors does not require grad",
        "nothing to train · the loss has no gradient",
        "All parameters are frozen, or checkpointing cut the graph (inputs need gradients).",
        "call enable_input_require_grads, or use non-reentrant checkpointing",
    ),
    # ------------------------------------------------------------------------- signals and ends
    _row(
        Kind.CRASH,
        r"Fatal Python error: ([^\n]{1,80})",
        "the interpreter crashed · {0}",
        "Native code of a package went wrong; the frames above say what was running.",
    ),
    _row(
        Kind.CRASH,
        r"^(?:.{0,200}[:\s])?(Segmentation fault|Bus error|Illegal instruction|Aborted)\b",
        "the process crashed · {0}",
        "Native code of a package went wrong.",
        Try("see the Python frames at the crash", "none", (("PYTHONFAULTHANDLER", "1"),)),
    ),
    _row(
        Kind.CRASH,
        r"terminate called after throwing an instance of '([^'\n]{1,120})'",
        "the process crashed · uncaught C++ exception {0}",
    ),
    _row(
        Kind.KILLED,
        r"^(?:.{0,200}[:\s])?Killed\b",
        "killed from outside",
        "Something sent KILL: most often the kernel when memory ran out, or a scheduler's limit.",
        "look at the memory curve, and ask for more memory",
    ),
    _row(
        Kind.ARGUMENTS,
        r"error: (unrecognized arguments: .{1,120}|the following arguments are required: .{1,120}"
        r"|argument .{1,160})",
        "wrong arguments · {0}",
        "The program refused its command line.",
    ),
    _row(
        Kind.NOT_FINITE,
        r"(?i:loss is (?:nan|inf)|non-finite loss|nan or inf (?:loss|found)|FloatingPointError)",
        "the loss is not finite",
        "Training diverged, or a batch gave no finite loss.",
        ("lower the learning rate, or warm up longer", "slower at first"),
        "clip gradients",
        "look at the batch of the first bad step",
    ),
    _row(Kind.ASSERTION, r"^AssertionError(?:: (.{1,160}))?", "assertion failed · {0}"),
    _row(
        Kind.INTERRUPT,
        r"^KeyboardInterrupt|SignalException: Process \d{1,9} got signal: (\d{1,3})",
        "interrupted from outside",
    ),
    _row(
        Kind.LAUNCHER,
        r"ChildFailedError|CalledProcessError: Command .{0,2000}returned non-zero exit status"
        r" (\d{1,3})",
        "a launched process failed",
        "",
        "look further up for that process's own message",
    ),
)
