"""JSON and bytes, in and out: the one-shot form of a request and the frames of `serve`.

The json package costs 15 to 40 ms and a megabyte (it needs `re`), which every start of a job would
pay; its C parts alone cost nothing. An interpreter that lacks them gets the package.
"""

import os
import sys

from . import Refused

MAX_JSON = 64 << 20
MAX_BODY = 1 << 30


def _reject_constant(name):
    raise ValueError("%s is not JSON" % name)


class _Context:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_reject_constant)
    memo = {}  # noqa: RUF012


try:
    if hasattr(sys, "gettotalrefcount"):
        raise ImportError("a debug build aborts where the scanner fails without the package")
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    _scan = make_scanner(_Context)
    _encode = make_encoder(None, None, encode_basestring_ascii, None, ":", ",", False, False, False)
except (ImportError, TypeError):
    import json

    def loads(text):
        """The JSON value in `text`. Raises ValueError if it is anything else."""
        return json.loads(text, parse_constant=_reject_constant)

    def dumps(value):
        """`value` as compact ASCII JSON."""
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

else:

    def loads(text):
        """The JSON value in `text`. Raises ValueError if it is anything else."""
        text = text.strip(" \t\r\n")
        try:
            value, end = _scan(text, 0)
        except (StopIteration, RecursionError, SystemError):
            # SystemError: some versions set no exception while the package is not loaded.
            raise ValueError("not JSON") from None
        if end != len(text):
            raise ValueError("not one JSON value")
        return value

    def dumps(value):
        """`value` as compact ASCII JSON."""
        return "".join(_encode(value, 0))


def parse_object(data):
    """The JSON object in some bytes, or None if there is none: what lies on a disk is not trusted
    to be whole."""
    try:
        value = loads(data.decode("utf-8", "surrogateescape"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def to_bytes(text, what="a name"):
    """A string of a request as the bytes the kernel gets: UTF-8, odd bytes as surrogates."""
    if not isinstance(text, str):
        raise Refused("%s must be a string, not %s." % (what, type(text).__name__))
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refused("%s is not valid text." % what) from None
    if b"\0" in data:
        raise Refused("%s holds a zero byte." % what)
    return data


def to_text(data):
    """Bytes from the kernel as a string that JSON can carry."""
    return data.decode("utf-8", "surrogateescape")


def read_all(fd, limit=MAX_JSON + MAX_BODY):
    """Everything up to the end of a descriptor."""
    parts = []
    total = 0
    while True:
        data = os.read(fd, 1 << 16)
        if not data:
            return b"".join(parts)
        parts.append(data)
        total += len(data)
        if total > limit:
            raise Refused("The request is larger than %d bytes." % limit)


def few(value):
    """The ids that `after` of a spec names: none, one as a text, or several in a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def write_all(fd, data):
    """All of `data`, whatever a single write takes."""
    view = memoryview(data)
    while len(view):
        view = view[os.write(fd, view) :]


def read_request(fd):
    """A one-shot request: (object, body)."""
    data = read_all(fd)
    head, _, body = data.partition(b"\n")
    if not data.strip():
        return {}, b""
    request = parse_object(head)
    if request is None:
        request, body = parse_object(data), b""
    if request is None:
        raise Refused("The request is not a JSON object.")
    return request, body


def write_answer(fd, answer, body=b""):
    """A one-shot answer; `body` follows the object's line and is announced in it."""
    if body:
        answer = dict(answer, body=len(body))
    write_all(fd, dumps(answer).encode("ascii") + b"\n" + body)


def frame(answer, body=b""):
    """One frame of `serve`, as the bytes of its head (the body follows by itself)."""
    text = dumps(answer).encode("ascii")
    return len(text).to_bytes(4, "big") + len(body).to_bytes(4, "big") + text


def field(request, name, kind, default=None, required=False):
    """A field of a request, of the type it must have."""
    value = request.get(name, default)
    if value is None:
        if required:
            raise Refused("The request lacks %s." % name)
        return default
    wrong = isinstance(value, bool) and kind is not bool
    if kind is float and isinstance(value, int) and not wrong:
        value = float(value)
    if wrong or not isinstance(value, kind):
        raise Refused("%s must be %s, not %s." % (name, kind.__name__, type(value).__name__))
    if kind is float and not -1e18 < value < 1e18:
        raise Refused("%s is out of range." % name)
    return value
