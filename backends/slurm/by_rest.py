"""Slurm asked by slurmrestd. The run directories are still the agent's, on a host that sees them:
slurmrestd starts and ends jobs and knows how they are, and has no file and no log."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from traindeck.backends.base import AgentChannel, BackendError, Unreachable
from traindeck.backends.slurm import listing
from traindeck.backends.slurm import rest_answers as answers
from traindeck.backends.slurm.cluster import Cluster, Config
from traindeck.backends.slurm.listing import Job
from traindeck.backends.slurm.rest import ENDED, NotSent, Refused, Slurmrestd
from traindeck.backends.slurm.scheduler import Forgotten, Send, Told

AT_ONCE = 16
"""Jobs that are ended in one go."""
LESS = (
    "by slurmrestd no job arrays are submitted, and the accounting is not asked how jobs ended "
    "that Slurm lists no more: of those only what their run directories say is known"
)
"""What there is in this way not."""
LONGEST_PAUSE = 60.0
"""Seconds for which a server that did not answer is not asked for jobs again, at the most."""


class ByRest:
    """See `Scheduler`.

    Args:
        server: slurmrestd.
    """

    what = "slurmrestd"

    def __init__(self, server: Slurmrestd) -> None:
        self._server = server
        self._again_at = -1.0
        self._pause = 1.0
        self._why = ""

    async def checks(self) -> list[tuple[bool, str]]:
        """See `Scheduler.checks`."""
        server = self._server
        try:
            version = await server.discover()
            answer = await server.get("jobs")
            token = await server.tokens.token()
        except BackendError as error:
            return [(False, str(error))]
        release, _ = answers.release(answer)
        slurm = f" of Slurm {release}" if release else ""
        found = [(True, f"slurmrestd{slurm} at {server.place.shown}, v0.0.{version}")]
        if token:
            user = server.tokens.user(token)
            found.append((True, f"{server.tokens.left(token)}, for {user or 'nobody by name'}"))
        else:
            found.append((True, "no token: the socket knows who asks"))
        if version < 40:
            found.append((True, "this version cannot have jobs warned before their time limit"))
        found.append((True, LESS))
        return found

    async def cluster(self, channel: AgentChannel, user: str) -> Cluster:
        """See `Scheduler.cluster`. Partitions, nodes, reservations; it tells no more."""
        found: dict[str, object] = {}
        unknown: dict[str, str] = {}
        await self._server.discover()
        asked = ("partitions", "nodes", "reservations")
        got = await asyncio.gather(*map(self._server.get, asked), return_exceptions=True)
        for what, answer in zip(asked, got, strict=True):
            if isinstance(answer, Refused) and answer.status != 401:
                unknown[what] = answer.why
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[what] = answer
        if len(unknown) == 3:
            raise BackendError(
                f"Slurm does not answer slurmrestd of `{self._server.name}`: "
                f"{next(iter(unknown.values()))}."
            )
        release, name = answers.release(next(iter(found.values())))
        cluster = answers.cluster(Config(version=release, name=name), found, user)
        notes: tuple[str, ...] = ()
        if (await channel.call("poll", {"runs": [], "shared": True}))[0].get("shared") is False:
            notes = (
                "the runs lie on a disk of one machine, as far as can be told, and slurmrestd "
                "brings no files: jobs that start elsewhere will not find them",
            )
        return replace(cluster, unknown=unknown, rest=self._server.version, notes=notes)

    async def jobs(self, channel: AgentChannel | None = None) -> Told:
        """See `Scheduler.jobs`."""
        return await self._told(waiting=False)

    async def _told(self, *, waiting: bool) -> Told:
        if time.monotonic() < self._again_at:
            return Told(why=self._why)
        try:
            answer = await self._server.get("jobs")
            user = await self._server.user()
        except BackendError as error:
            self._why = str(error).rstrip(".")
            if isinstance(error, Unreachable):
                # What the run directories tell is not to wait for this again and again.
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._again_at = time.monotonic() + self._pause
            return Told(why=self._why)
        self._pause = 1.0
        return Told(
            jobs=answers.Jobs(answers.jobs(answer, user)),
            waiting=answers.priorities(answer) if waiting else None,
        )

    async def ask(
        self,
        channel: AgentChannel,
        verb: str,
        request: Mapping[str, Any],
        *,
        waiting: bool = False,
        within: float | None = None,
    ) -> tuple[dict[str, Any], Told]:
        """See `Scheduler.ask`. Slurm first: of what it calls over the record is there then."""
        told = Told()
        if within != 0:
            try:
                async with asyncio.timeout(within):
                    told = await self._told(waiting=waiting)
            except TimeoutError:
                told = Told(why="slurmrestd did not answer in time", late=True)
        answer, _ = await channel.call(verb, {**request, "shared": True})
        return answer, told

    async def hand_over(
        self, channel: AgentChannel, send: Send, header: Mapping[str, Any], sent: Any
    ) -> dict[str, Any]:
        """See `Scheduler.hand_over`: the agent keeps who submits, and this does it."""
        body = sent.get("request") if isinstance(sent, Mapping) else None
        if not isinstance(body, Mapping):
            raise BackendError("This plan is not one for slurmrestd; it was not sent.")
        run, attempt = str(header["run_id"]), int(header["attempt"])
        more: dict[str, Any] = {}
        if attempt:
            before = await self._named(run, attempt - 1)
            more["before_goes_on"] = any(not job.over for job in before)
        # Before anything is written: a token that has expired costs nothing but a sentence.
        if await self._server.discover() != sent.get("version"):
            raise BackendError(
                f"slurmrestd of `{self._server.name}` was changed since this run was planned; "
                "it was not sent.",
                "Plan it anew.",
            )
        answer = await send("reserve", {**header, **more})
        turn = answer.get("turn")
        if turn is None:
            return answer

        async def handed(outcome: str, number: str | None = None) -> dict[str, Any]:
            words = {"run_id": run, "attempt": attempt, "outcome": outcome, "job": number}
            said, _ = await channel.call("handed", words)
            return said

        number = None
        try:
            if turn == "look":
                number = await self._number(run, attempt)
            if number is None:
                number = answers.submitted(await self._server.post("job/submit", body))
                if number is None:
                    raise Refused("slurmrestd named no job.", why="it named no job")
        except asyncio.CancelledError:
            # Our agent lives on: without a word of it everybody would wait for us.
            with suppress(BackendError):
                await asyncio.shield(handed("unknown"))
            raise
        except NotSent:
            await handed("refused" if turn == "submit" else "unknown")
            raise
        except Refused as refused:
            # It may have got through, and only Slurm's answer was lost.
            try:
                number = await self._number(run, attempt)
            except BackendError:
                await handed("unknown")
                raise self._not_known(refused.why) from None
            if number is None:
                await handed("refused")
                why = refused.why or str(refused)
                raise BackendError(f"slurmrestd refused: {why.rstrip('.')}.", refused.fix) from None
        except BackendError as error:
            try:
                number = await self._number(run, attempt)
            except BackendError:
                number = None
            if number is None:
                await handed("unknown")
                raise self._not_known(str(error)) from None
        return await handed("handed", number)

    def _not_known(self, why: str) -> Unreachable:
        return Unreachable(
            f"Slurm does not answer on `{self._server.name}`: {why.rstrip('.')}.",
            "The run is kept: whether it was submitted shows when Slurm answers again.",
        )

    async def _named(self, run: str, attempt: int) -> list[Job]:
        user = await self._server.user()
        listed = answers.jobs(await self._server.get("jobs"), user)
        name = listing.job_name(run, attempt)
        return [job for job in listed if job.name == name]

    async def _number(self, run: str, attempt: int) -> str | None:
        """The number of the job that an attempt has already."""
        return min((job.number for job in await self._named(run, attempt)), key=int, default=None)

    async def details(self, channel: AgentChannel, numbers: Sequence[str]) -> dict[str, Job]:
        """See `Scheduler.details`: the list had all there is."""
        return {}

    async def forgotten(self, channel: AgentChannel | None, jobs: Sequence[str]) -> Forgotten:
        """See `Scheduler.forgotten`: the accounting is not asked in this way."""
        return Forgotten()

    async def end(self, channel: AgentChannel | None, jobs: Sequence[str]) -> str:
        """See `Scheduler.end`. Without a signal it is what scancel does."""
        return await self._all(jobs, {})

    async def end_waiting(self, channel: AgentChannel | None, array: str) -> str:
        """See `Scheduler.end_waiting`."""
        told = await self._told(waiting=False)
        if told.jobs is None:
            return told.why
        left = told.jobs.foreign_job(f"{array}_{listing.REST}")
        if left is None or left.over:
            return ""
        # The tasks themselves: `12_[3-5%1]` would end those that run if named by `12`.
        return await self._all([re.sub(r"%\d+\]$", "]", left.id)], {})

    async def nudge(self, channel: AgentChannel | None, jobs: Sequence[str]) -> None:
        """See `Scheduler.nudge`."""
        params = {"signal": "USR1"}
        if self._server.version >= 40:
            params["flags"] = "BATCH_JOB"
        await self._all(jobs, params)

    async def _all(self, jobs: Sequence[str], params: Mapping[str, str]) -> str:
        for job in jobs[:AT_ONCE]:
            try:
                await self._server.delete(f"job/{job}", **params)
            except Refused as refused:
                if not refused.numbers & ENDED:
                    return f"slurmrestd refused: {refused.why}"
            except BackendError as error:
                return str(error).rstrip(".")
        return ""

    async def output(self, channel: AgentChannel, job: str) -> tuple[str, bool] | None:
        """See `Scheduler.output`."""
        try:
            listed = (await self._server.get(f"job/{job}")).get("jobs")
        except Refused as refused:
            if refused.numbers & ENDED or refused.status == 404:
                return None
            raise
        for words in listed if isinstance(listed, list) else []:
            if (found := answers.job(words)) is not None and job in (found.id, found.number):
                return answers.output_of(words), found.over
        return None

    async def address(self, channel: AgentChannel, node: str) -> str:
        """See `Scheduler.address`."""
        listed = (await self._server.get(f"node/{node}")).get("nodes")
        words = listed[0] if isinstance(listed, list) and listed else None
        return str(words.get("address") or "") if isinstance(words, dict) else ""

    async def aclose(self) -> None:
        """See `Scheduler.aclose`."""
        await self._server.aclose()
