"""What a supervisor sleeps on: signals, as bytes on a pipe."""

import _signal
import os

from . import procs

NOTED = (
    procs.SIGCHLD,
    procs.SIGUSR1,
    procs.SIGUSR2,
    procs.SIGTERM,
    procs.SIGHUP,
    procs.SIGINT,
)


class Wake:
    """Signals as bytes on a pipe: what the loop sleeps on.

    Attributes:
        asked: TERM was sent to the supervisor itself (by a scheduler, a shutdown).
        warned: USR2 was sent to it: the time is nearly over. Whoever acts on it takes it back.
    """

    def __init__(self):
        self.asked = False
        self.warned = False
        self.fd, write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(write, False)
        _signal.set_wakeup_fd(write)
        for number in NOTED:
            _signal.signal(number, self._note)
            _signal.siginterrupt(number, False)

    def _note(self, number, frame):
        if number == procs.SIGTERM:
            self.asked = True
        elif number == procs.SIGUSR2:
            self.warned = True

    def drain(self):
        """Forget what woke us; everything is looked at anyway."""
        try:
            while len(os.read(self.fd, 256)) == 256:
                pass
        except BlockingIOError:
            pass
