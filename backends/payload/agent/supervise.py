"""The program that `start` leaves running beside a job: claim, supervise, and do it again for as
long as a failed attempt may be repeated."""

import os

from . import Refused, layout, records, wire
from .attempt import Attempt, NoRoom, Taken
from .orders import Orders
from .supervisor import Supervisor, code_of, state_of
from .wake import Wake

REQUEST_FD = 3
REPORT_FD = 4


def supervise(run, number):
    """The program `supervise RUN ATTEMPT`, exec'ed by `start` with a request on descriptor 3 and a
    place to report to on 4."""
    request = wire.parse_object(wire.read_all(REQUEST_FD))
    os.close(REQUEST_FD)
    if request is None:
        return  # whoever started us was killed while it spoke
    wake = Wake()
    attempt = Attempt(run, number)
    try:
        path = layout.run_dir(run) + "/run.json"
        orders = Orders(records.read_object(path, records.MAX_RUN), request)
        attempt.claim(orders.adopted)
    except Taken:
        report({"taken": True})
        return
    except (Refused, NoRoom) as refused:
        gone = not os.path.lexists(layout.run_dir(run))
        report({"error": "Run %s was removed meanwhile." % run if gone else str(refused)})
        return
    report({"pid": os.getpid()})
    see_through(Supervisor(attempt, orders, wake))


def see_through(watch):
    """Everything from an attempt that is claimed to the end of the last one. Returns the Supervisor
    of that one and what its record says, None if somebody else has gone on with the run."""
    orders, wake = watch.orders, watch.wake
    while True:
        if watch.await_dependency() and watch.await_devices() and watch.begin():
            watch.watch_to_end()
        watch.attempt.release_devices()
        payload = watch.payload()
        failed = payload["cause"] == "self" and state_of(payload) == "failed"
        if not failed or orders.retries <= 0 or watch.cancelled() or wake.asked:
            watch.record(payload)
            break
        # For as long as this stands and we live, nobody takes the run for over.
        watch.record(dict(payload, next=watch.attempt.number + 1))
        following = next_attempt(watch)
        if following is None:
            return watch, None
        if following is watch.attempt:
            break
        orders.retries -= 1
        orders.after = []
        watch = type(watch)(following, orders, wake, watch)
    watch.hook("on_exit", state_of(payload), code_of(payload))
    watch.finish_hooks()
    watch.attempt.close()
    return watch, payload


def next_attempt(watch):
    """Claim the attempt after a failed one, waiting for room on the disk if need be. None if
    somebody else has claimed it, or the run directory is gone: then we are done. The failed one
    itself if the run is to end while it waits: it was the last."""
    before = watch.attempt
    told = False
    while True:
        following = type(before)(before.run, before.number + 1)
        following.scheduler = before.scheduler
        try:
            following.claim()
            break
        except NoRoom as reason:
            if before.is_deleted():
                return None
            if watch.cancelled() or watch.wake.asked:
                return before
            if not told:  # once: what room there is must not go to this
                told = True
                records.append_event(before.directory, "disk_full", error=str(reason))
            watch.sleep(1.0)
        except (Taken, Refused) as reason:
            records.append_event(before.directory, "retry", error=str(reason) or "taken")
            return None
    records.append_event(following.directory, "retry", after=before.number)
    watch.tree.scan(fresh=True)
    before.close()
    return following


def report(words):
    """Tell the `start` that waits for us, if it still does."""
    try:
        wire.write_all(REPORT_FD, wire.dumps(words).encode("ascii"))
    except OSError:
        pass
    os.close(REPORT_FD)
