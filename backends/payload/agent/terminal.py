"""A terminal for a job that asks for one (`--pty`).

It is a terminal for output. Input stays /dev/null, as for every job: an end of file in a terminal
holds for one read only and not at all in raw mode, so a program that reads would wait for ever.

The supervisor stands between the terminal and the log then: if it is killed, the job is hung up.
That is what the option gives up, and why it is one.
"""

import fcntl
import os
import struct
import termios

ROWS, COLUMNS = 40, 120
OPOST = 1


class Terminal:
    """A pty whose output goes to the log.

    Attributes:
        fd: The master, to be polled for input; None once the last writer is gone.
        slave: For the job; closed by `started`.
    """

    def __init__(self, log_fd):
        self.fd, self.slave = os.openpty()
        os.set_blocking(self.fd, False)
        self._log = log_fd
        self._held = b""
        # Without output processing the log gets the bytes that the job wrote, not \r\n for each \n.
        modes = termios.tcgetattr(self.slave)
        modes[OPOST] &= ~termios.OPOST
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))

    def started(self):
        """The job has its side; ours is not needed any more."""
        os.close(self.slave)

    @property
    def blocked(self):
        """Bytes are held back because the log cannot take them: read no more, so that the job
        waits instead of losing output."""
        return bool(self._held)

    def pump(self):
        """Move what there is. Returns False once the terminal is closed on the other side."""
        if self.fd is None:
            return False
        while self._flush():
            try:
                self._held = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return True
            except OSError:  # EIO: the last writer is gone
                self._held = b""
            if not self._held:
                os.close(self.fd)
                self.fd = None
                return False
        return True

    def _flush(self):
        while self._held:
            try:
                self._held = self._held[os.write(self._log, self._held) :]
            except OSError:
                return False
        return True
