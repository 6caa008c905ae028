"""Where things lie on the executing side: the root, run directories, the lock folder.

The root is where the agent's own file lies (`<root>/bin/`), so no request can move it. No path is
built from an id or a number that was not checked here.
"""

import os
import stat
import sys

from . import Refused

_package = sys.modules[__package__]

ID_LETTERS = frozenset("0123456789abcdefghjkmnpqrstvwxyz")
DIGITS = frozenset("0123456789")
MAX_ATTEMPT = 99999

# By agent file; a poll builds thousands of paths from it.
_runs = {}


def agent_file():
    """The file this program runs from."""
    return _package.FILE


def root():
    """The folder that holds bin/ and runs/."""
    return os.path.dirname(os.path.dirname(agent_file()))


def runs():
    """The folder of all run directories."""
    file = agent_file()
    if file not in _runs:
        _runs[file] = root() + "/runs"
    return _runs[file]


def check_mounted():
    """Refuse where there are no runs at all: a disk that is not mounted has lost none."""
    if not os.path.isdir(runs()):
        raise Refused("%s is not there: is its disk mounted?" % runs())


def check_link():
    """As check_mounted, but where nothing is yet a first run may make the folder."""
    if os.path.islink(runs()):
        check_mounted()


def gone(path):
    """The refusal of what asks for a run directory that is not there. Raises it where there are no
    runs at all."""
    check_mounted()
    return Refused("%s is gone: it was deleted." % path)


def check_readable(run, attempt):
    """Refuse what asks for an attempt whose folders we may not look into: nothing that is said of
    what lies there would be true."""
    for path in (run_dir(run), run_dir(run) + "/attempts", attempt_dir(run, attempt)):
        if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
            raise Refused(
                "%s cannot be read: permission denied. Give yourself access (chmod u+rwx) and try "
                "again." % path
            )


def check_id(value):
    """A run id, or a refusal."""
    if not is_id(value):
        raise Refused("%.40r is not a run id." % (value,))
    return value


def is_id(value):
    """Whether something is a run id."""
    return isinstance(value, str) and len(value) == 12 and ID_LETTERS.issuperset(value)


def task_id(array, index):
    """The id of the run that is a task of an array, whose letters are those of all its runs."""
    return "%s%04d" % (array, index)


def check_attempt(value, what="attempt"):
    """The number of an attempt (or a rank), or a refusal."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ATTEMPT:
        raise Refused("%.40r is not the number of an %s." % (value, what))
    return value


def number_of(name):
    """The number of an attempt that is written as a name, in canonical decimal, or None. ("²" is a
    digit to Python, and no number.)"""
    if 0 < len(name) <= 5 and DIGITS.issuperset(name) and str(int(name)) == name:
        return int(name)
    return None


def run_dir(run):
    """The directory of a run whose id was checked."""
    return os.path.join(runs(), run)


def attempt_dir(run, attempt):
    """The directory of one of its attempts."""
    return "%s/%s/attempts/%d" % (runs(), run, attempt)


def log_path(run, attempt, rank=0):
    """The log of one rank."""
    return "%s/logs/%d.log" % (attempt_dir(run, attempt), rank)


def is_claimed(run, attempt):
    """Whether an attempt is claimed. That the file is there is what counts."""
    return os.path.lexists(attempt_dir(run, attempt) + "/claim")


def is_removed(run):
    """Whether a run's files were removed, and only what was to be kept is still there."""
    return os.path.lexists(run_dir(run) + "/removed.json")


def is_gutted(run):
    """Whether a run's directory is there without the `attempts` that it is made with: somebody
    deleted them, or began to delete all of it."""
    if not os.path.lexists(run_dir(run) + "/run.json"):
        return False
    try:
        os.lstat(run_dir(run) + "/attempts")
    except FileNotFoundError:
        return True
    except OSError:
        pass  # what cannot be seen may be there
    return False


def attempts(run):
    """The numbers of the claimed attempts of a run, ascending. Raises OSError if they cannot be
    read; a directory that is not there has none."""
    return known(run)[0]


def queued(run):
    """The numbers of the attempts that were handed to a scheduler (or were just to be), ascending,
    claimed or not."""
    return known(run)[1]


def known(run):
    """Both, for the price of one look: (claimed, queued)."""
    try:
        names = os.listdir(run_dir(run) + "/attempts")
    except FileNotFoundError:
        return [], []
    numbers = sorted(n for n in map(number_of, names) if n is not None)
    return (
        [n for n in numbers if is_claimed(run, n)],
        [n for n in numbers if os.path.lexists(attempt_dir(run, n) + "/queued.json")],
    )


def make_private(path):
    """The directory `path`, made if need be, ours alone. Refuses what somebody else put there."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise Refused("The folder %s cannot be made: %s." % (path, error.strerror)) from None
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        raise Refused("%s is not a directory (a link or a file was put there)." % path)
    if info.st_uid != os.getuid():
        raise Refused("%s belongs to uid %d, not to us." % (path, info.st_uid))
    if info.st_mode & 0o077:
        os.chmod(path, 0o700)
    return path


def locks_path():
    """Where the lock folder is."""
    return "/var/tmp/traindeck-%d" % os.getuid()  # noqa: S108 (checked by `locks`)


def locks():
    """The lock folder: on a disk of this machine, because locks on a network file system may hang
    or lie; shared by every root of this user."""
    return make_private(locks_path())


def lock_path(run, attempt, kind="lock"):
    """The run lock of an attempt (or, `takeover`, that of whoever ends it in a supervisor's
    place)."""
    return "%s/%s.%d.%s" % (locks_path(), run, attempt, kind)
