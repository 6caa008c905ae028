"""The values of a run's secrets where nobody can hold them in memory: for a scheduler's job, which
starts hours later, and again after a requeue. One 0600 file in the run directory, from `prepare` to
the end of the run."""

import os

from . import Refused, layout, records, wire

NAME = "secrets.json"
LARGEST = 1 << 20


def _path(run):
    return "%s/%s" % (layout.run_dir(run), NAME)


def keep(run, values):
    """Write them down."""
    data = wire.dumps(values).encode("ascii")
    if len(data) > LARGEST:
        raise Refused("The secrets of run %s are longer than %d bytes." % (run, LARGEST))
    try:
        records.write_whole(_path(run), data, 0o600)
    except OSError as error:
        raise Refused("%s cannot be written: %s." % (_path(run), error.strerror)) from None


def read(run, names):
    """The values of these names; refuses, by name, if one is not there."""
    if not names:
        return {}
    values = records.read_object(_path(run), LARGEST) or {}
    for name in names:
        if not isinstance(values.get(name), str):
            raise Refused(
                "The secret %.100s of run %s is not kept any more: retry the run with it set."
                % (name, run)
            )
    return {name: values[name] for name in names}


def drop(run):
    """Remove them."""
    try:
        os.unlink(_path(run))
    except OSError:
        pass  # there were none, or the run directory is gone
