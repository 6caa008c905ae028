"""slurmrestd, spoken to: which version it offers, one request and its answer, what went wrong.

The token goes to the configured place and nowhere else: no redirect is followed, no proxy and no
.netrc of the environment is used, certificates are checked, and plain http is for this machine.
Answers are untrusted: bounded in size and time, and read as JSON only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from traindeck.backends.base import BackendError, Unreachable, UsageError
from traindeck.backends.data import dataclass
from traindeck.backends.errors import excerpt
from traindeck.backends.slurm import rest_answers as answers
from traindeck.backends.slurm import rest_json, text
from traindeck.backends.slurm.rest_token import Tokens, hidden

if TYPE_CHECKING:
    import httpx

MOST = 128 << 20
"""Bytes of an answer: a job takes about 5 kB, and all of a cluster's are listed."""
CONNECT = 10.0
WITHIN = 40.0
"""Seconds for a whole answer. slurmrestd itself gives up on slurmctld after 10."""
VERSION_FOR = 600.0
"""Seconds for which what a server offers is taken to stay so."""
ENDED = frozenset({2017, 2021})
"""Slurm's numbers for a job that it does not know, or that is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where slurmrestd is: the origin of its URL, or a unix socket."""

    origin: str = ""
    prefix: str = ""
    socket: str = ""
    shown: str = ""


class Refused(BackendError):
    """slurmrestd answered, and said no.

    Attributes:
        why: In its words, on one line.
        numbers: Slurm's numbers of what went wrong.
        status: Of HTTP.
    """

    def __init__(
        self, what: str, fix: str = "", *, why: str = "", numbers: frozenset[int] = frozenset(),
        status: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(what, fix)
        self.why = why
        self.numbers = numbers
        self.status = status


class NotSent(Unreachable):
    """It could not be connected to: nothing was sent."""


def place_of(name: str, value: object) -> Place:
    """What the setting `rest` names.

    Raises:
        UsageError: It is no URL, carries a password, or would send the token in the clear.
    """
    where = f"backends.{name}.rest"
    given = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not given.isprintable() or " " in given or parts.scheme not in ("http", "https", "unix"):
        raise UsageError(
            f"{where} is {excerpt(str(value))!r}: expected an address of slurmrestd.",
            "As https://slurm.example.org:6820, or unix:///run/slurmrestd.socket.",
        )
    if parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"{where}: an address of slurmrestd has no user, query or fragment.")
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise UsageError(f"{where}: a socket is named as unix:///run/slurmrestd.socket.")
        return Place(origin="http://localhost", socket=parts.path, shown=given)
    if not parts.hostname:
        raise UsageError(f"{where} is {excerpt(given)!r}: it names no machine.")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise UsageError(
            f"{where}: http to {parts.hostname} would send the token unencrypted.",
            "Use https, or forward the port with ssh -L and name http://127.0.0.1:PORT.",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    origin = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}"
    prefix = parts.path.rstrip("/")
    return Place(origin=origin, prefix=prefix, shown=origin + prefix)


def _is_here(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Slurmrestd:
    """One server. Connects when it is first asked.

    Args:
        name: Of the backend, for what is said.
        place: Where it is.
        tokens: What it is shown.
    """

    def __init__(self, name: str, place: Place, tokens: Tokens) -> None:
        self.name = name
        self.place = place
        self.tokens = tokens
        self.version = 0
        """The last number of the version that is spoken, 0 until that is known."""
        self._version_at = 0.0
        self._client: httpx.AsyncClient | None = None

    @property
    def called(self) -> str:
        """The version as it stands in paths."""
        return f"v0.0.{self.version}"

    async def user(self) -> str:
        """The user that is asked for."""
        return self.tokens.user(await self.tokens.token())

    async def discover(self) -> int:
        """Find the highest version that both sides speak.

        Raises:
            BackendError: It does not answer, or there is none.
        """
        if self.version and time.monotonic() - self._version_at < VERSION_FOR:
            return self.version
        offered = answers.versions(await self._request("GET", "/openapi/v3"))
        found = answers.best(offered)
        if found is None:
            ours = f"0.0.{answers.VERSIONS[0]} to 0.0.{answers.VERSIONS[-1]}"
            if not offered:
                raise BackendError(
                    f"What answers at {self.place.shown} is no slurmrestd: it offers no jobs.",
                    f"Check backends.{self.name}.rest.",
                )
            theirs = ", ".join(f"0.0.{one}" for one in offered[-4:])
            raise BackendError(
                f"slurmrestd of `{self.name}` offers {theirs}, and Traindeck speaks {ours}."
            )
        self.version, self._version_at = found, time.monotonic()
        return found

    async def get(self, what: str, **params: str) -> Mapping[str, Any]:
        """`jobs`, `partitions`, `job/12`."""
        return await self._asked("GET", what, params)

    async def post(self, what: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """`job/submit`."""
        return await self._asked("POST", what, {}, body)

    async def delete(self, what: str, **params: str) -> Mapping[str, Any]:
        """`job/12`."""
        return await self._asked("DELETE", what, params)

    async def _asked(
        self, method: str, what: str, params: Mapping[str, str], body: object = None
    ) -> Mapping[str, Any]:
        await self.discover()
        lists = what in ("jobs", "partitions", "nodes", "reservations") and self.version >= 40
        path = f"/slurm/{self.called}/{quote(what, safe='/')}{'/' if lists else ''}"
        try:
            return await self._request(method, path, params, body)
        except Refused as refused:
            if refused.status == 404 and not refused.numbers:
                self.version = 0  # it was upgraded meanwhile
            raise

    async def _request(
        self, method: str, path: str, params: Mapping[str, str] | None = None, body: object = None
    ) -> Mapping[str, Any]:
        token = await self.tokens.token()
        try:
            return await self._once(method, path, params or {}, body, token)
        except Refused as refused:
            # Nothing was done: a command may print a better one.
            if refused.status != 401 or not self.tokens.forget():
                raise
        return await self._once(method, path, params or {}, body, await self.tokens.token())

    async def _once(
        self, method: str, path: str, params: Mapping[str, str], body: object, token: str
    ) -> Mapping[str, Any]:
        import httpx

        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if token:
            headers["X-SLURM-USER-NAME"] = self.tokens.user(token)
            headers["X-SLURM-USER-TOKEN"] = token
        where = f"slurmrestd at {self.place.shown}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            async with (
                asyncio.timeout(WITHIN),
                self._connected().stream(
                    method,
                    self.place.origin + self.place.prefix + path,
                    params=dict(params),
                    content=content,
                    headers=headers,
                ) as response,
            ):
                status, kind = response.status_code, response.headers.get("content-type", "")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise BackendError(f"{where} answers in an encoding that was not asked for.")
                data = bytearray()
                async for piece in response.aiter_raw():
                    data += piece
                    if len(data) > MOST:
                        raise BackendError(
                            f"{where} answered with more than {MOST >> 20} MB to {method} {path}; "
                            "the rest was not read."
                        )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._unconnected(error) from None
        except (TimeoutError, httpx.TimeoutException):
            raise Unreachable(f"{where} did not answer in time.") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            why = text.one_line(str(error)) or type(error).__name__
            raise Unreachable(f"{where} broke off: {hidden(why)}.") from None
        return await self._answer(status, kind, bytes(data), token)

    async def _answer(self, status: int, kind: str, data: bytes, token: str) -> Mapping[str, Any]:
        where = f"slurmrestd at {self.place.shown}"
        if 300 <= status < 400:
            raise BackendError(
                f"{where} sends us elsewhere (HTTP {status}), where the token does not go.",
                f"Check backends.{self.name}.rest.",
            )
        words: object = None
        try:
            words = await rest_json.read(data) if data.strip() else None
        except (ValueError, RecursionError):
            if status < 400:
                raise BackendError(
                    f"{where} answered with what is no JSON.", f"Check backends.{self.name}.rest."
                ) from None
        why = answers.said(words)
        if not why and words is None and kind.startswith("text/plain"):
            why = text.one_line("".join(c if c.isprintable() else " " for c in
                                        data[:600].decode("utf-8", "replace")))  # fmt: skip
        if token:
            why = why.replace(token, "…")
        why = hidden(why)
        numbers = frozenset(answers.error_numbers(words))
        if status in (401, 403):
            raise Refused(
                f"{where} refuses the token{f': {why}' if why else ''}.",
                "It may be for another cluster or signed with another key; get a new one.",
                status=401,
            )
        if status >= 400:
            # 0.0.38 asks slurmctld with a wrong token too, and tells no more than that it failed.
            blind = status == 500 and -1 in numbers and self.version <= 38
            raise Refused(
                f"{where} says: {why or f'HTTP {status}'}.",
                "Slurm 22.05 says so of a token that it does not take, and when slurmctld does not "
                "answer."
                if blind
                else "",
                why=why or f"HTTP {status}",
                numbers=numbers,
                status=status,
            )
        if not isinstance(words, dict):
            raise BackendError(
                f"{where} answered with what is no object.", f"Check backends.{self.name}.rest."
            )
        return words

    def _unconnected(self, error: Exception) -> NotSent:
        said = hidden(text.one_line(str(error))) or type(error).__name__
        where = f"slurmrestd at {self.place.shown}"
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return NotSent(
                f"The certificate of {where} cannot be trusted: {said}.",
                "If it is your site's own, SSL_CERT_FILE names the file of its authority.",
            )
        return NotSent(f"{where} cannot be reached: {said}.", f"Check backends.{self.name}.rest.")

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            import ssl

            import httpx

            how: dict[str, Any] = {"retries": 0}
            if self.place.socket:
                how["uds"] = self.place.socket
            elif self.place.origin.startswith("https:"):
                how["verify"] = ssl.create_default_context()
            else:
                how["verify"] = False  # nothing of it is encrypted
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(**how),
                follow_redirects=False,
                trust_env=False,
                timeout=httpx.Timeout(WITHIN, connect=CONNECT),
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
