"""Traindeck's agent: the supervisor that runs beside the job, wherever that is.

It travels as one file (build.py puts this package into it) and runs on the standard library of any
Python from 3.6 up. It must never need anything installed, never write a secret to a disk or an
argv, and never end a process that it cannot prove to belong to the run it was asked about. What it
writes and how it is spoken to stands in ../FORMAT.md; the names there are repeated here on purpose.
"""

FILE = ""
"""Absolute path of the built file this package was loaded from; set by the loader."""

VERSION = "development"
"""The first 16 hex digits of that file's SHA-256; set by the loader from the file's name."""


UMASK = None
"""The umask of whoever started this program, before it set its own; set by verbs.main."""


class Refused(Exception):
    """A request that will not be done; the message is one sentence for a person. `more` and `body`
    are said beside it, for who asked."""

    def __init__(self, words, more=None, body=b""):
        super().__init__(words)
        self.more = more or {}
        self.body = body
