"""Imports the training libraries once, then forks a process for each trainer that is asked for.

A real process each, with its own pid, signals and exit code, without ten seconds of imports each.
Reads one JSON object a line: `{"code", "argv", "env", "cwd", "out"}` starts one and answers its
pid; `{"wait": pid}` answers its exit code (or the negative signal).
"""

import json
import os
import runpy
import sys
import traceback

sys.path.insert(0, sys.argv[1])

import datasets  # noqa: F401
import peft  # noqa: F401
import torch  # noqa: F401
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401
from trl import SFTConfig, SFTTrainer  # noqa: F401

transformers.utils.logging.disable_progress_bar()


def become(order):
    """In the child: take on what was ordered, run it, end with its code."""
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, out), (2, out)):
        os.dup2(source, target)
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    sys.argv = order["argv"]
    code = 0
    try:
        if order.get("code"):
            exec(order["code"], {"__name__": "__main__"})
        if sys.argv:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main():
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            become(order)
        print(json.dumps({"pid": pid}), flush=True)


if __name__ == "__main__":
    main()
