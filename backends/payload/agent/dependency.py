"""Whether the run that another one waits for has ended, and how: by its run directory on this
host, the same facts that `poll` reports."""

import os
import time

from . import Refused, evidence, layout

GO = "go"
WAIT = "wait"
NEVER = "never"

NOT_STARTED_AFTER = 120.0
"""Seconds after which a run directory without a claim counts as never started."""
OTHER_HOST_SILENT_AFTER = 900.0
"""Seconds without a heartbeat after which a run on another host counts as lost."""


def look(run, any_end):
    """(verdict, reason): GO, WAIT with what is waited for, or NEVER with why not."""
    try:
        layout.check_id(run)
    except Refused as refused:
        return NEVER, str(refused)
    facts = evidence.of_run(run, evidence.Look())
    if not facts["found"]:
        return NEVER, "run %s, which it waits for, cannot be found" % run
    ended = facts["exit"]
    if ended is not None:
        if any_end or (ended.get("cause") == "self" and ended.get("exit_code") == 0):
            return GO, ""
        return NEVER, "run %s, which it waits for, %s" % (run, _words(ended))
    if _is_lost(run, facts):
        if any_end:
            return GO, ""
        return NEVER, "run %s, which it waits for, was lost" % run
    return WAIT, "waits for run %s to end" % run


def _is_lost(run, facts):
    if facts["rebooted"]:
        return True
    if not facts["same_host"]:
        age = facts["heartbeat_age"]
        return age is not None and age > OTHER_HOST_SILENT_AFTER
    if facts["phase"] == "none":
        try:
            age = time.time() - os.stat(layout.run_dir(run)).st_ctime
        except OSError:
            return True
        return age > NOT_STARTED_AFTER
    return not facts["alive"] and not facts["supervised"]


def _words(ended):
    cause = ended.get("cause")
    if cause == "self":
        if ended.get("signal") is not None:
            return "ended by signal %s" % ended["signal"]
        return "failed with exit code %s" % ended.get("exit_code")
    words = {
        "cancel": "was cancelled",
        "timeout": "ran into its time limit",
        "dependency": "was cancelled because of the run it waited for",
        "launch": "could not be started",
    }
    return words.get(cause, "ended in a way that is not known")
