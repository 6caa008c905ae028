"""The store of blobs: files and the objects of folders, each named by its SHA-256.

Code comes here in pieces, once, and every run gets copies of its own: a job may change what it was
given, and nothing of it reaches the store. A blob is whole or not there; who sends the same one at
the same time writes the same bytes.
"""

import os
import time

from . import Refused, layout, records, wire

STEP = 0.005
"""Seconds of work between two moments in which others get their turn."""
FRESH = 86400.0
"""Age in seconds up to which a blob that is asked for is not touched again."""
PIECE = 1 << 20
MOST_BYTES = 1 << 30
"""Of an object of a folder."""
KINDS = ("file", "exec", "tree")
HEX = frozenset("0123456789abcdef")


def store():
    """The folder of all blobs."""
    return layout.root() + "/blobs"


def uses():
    """The folder that says which trees were used, and when: empty files named by their digests."""
    return store() + "/trees"


def check_digest(value):
    """A SHA-256 in hex, or a refusal."""
    if not is_digest(value):
        raise Refused("%.80r is not the digest of a blob." % (value,))
    return value


def is_digest(value):
    """Whether something is a SHA-256 in hex."""
    return isinstance(value, str) and len(value) == 64 and HEX.issuperset(value)


def path_of(digest):
    """Where a blob lies."""
    return "%s/%s/%s" % (store(), digest[:2], digest)


def part_of(digest):
    """Where the beginning of one lies that is still coming."""
    return "%s/%s/.part-%s" % (store(), digest[:2], digest)


def blobs_missing(request, body):
    """The verb: which of these are not here. A generator that gives way."""
    if len(body) % 32:
        raise Refused("The body is not a list of digests, of 32 bytes each.")
    missing = []
    partial = {}
    now = time.time()
    until = time.monotonic() + STEP
    for at in range(0, len(body), 32):
        digest = body[at : at + 32].hex()
        if not _touch(digest, now):
            missing.append(body[at : at + 32])
            try:
                partial[digest] = os.stat(part_of(digest)).st_size
            except OSError:
                pass
        if time.monotonic() > until:
            yield None, 0.0
            until = time.monotonic() + STEP
    return {"missing": len(missing), "partial": partial}, b"".join(missing)


def _touch(digest, now):
    """Whether a blob is here. Who asks is about to use it: it counts as new."""
    path = path_of(digest)
    try:
        if not 0 <= now - os.stat(path).st_mtime < FRESH:
            os.utime(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unwritable(error) from None
    return True


def blobs_put(request, body):
    """The verb: keep blobs, or pieces of them."""
    at = 0
    view = memoryview(body)
    made = set()
    for entry in wire.field(request, "blobs", list, required=True):
        if not isinstance(entry, dict):
            raise Refused("A blob must be an object, not %s." % type(entry).__name__)
        digest = check_digest(entry.get("digest"))
        size = wire.field(entry, "size", int, required=True)
        offset = wire.field(entry, "offset", int, 0)
        length = wire.field(entry, "length", int, size)
        if min(size, offset, length) < 0 or offset + length > size or at + length > len(body):
            raise Refused("The blobs are longer than the bytes that came with them.")
        data = view[at : at + length]
        at += length
        try:
            if os.path.exists(path_of(digest)):
                continue
            if digest[:2] not in made:
                os.makedirs("%s/%s" % (store(), digest[:2]), 0o700, exist_ok=True)
                made.add(digest[:2])
            if length == size:
                _keep(digest, data)
            else:
                _keep_piece(digest, size, offset, data)
        except OSError as error:
            raise _unwritable(error) from None
    return {}


def _unwritable(error):
    return Refused(
        "The code cannot be kept in %s: %s. Free some space, or choose another place with `root` "
        "in the backend's settings." % (store(), error.strerror or error)
    )


def _keep(digest, data):
    import hashlib  # 10 ms, for this only

    if hashlib.sha256(data).hexdigest() != digest:
        raise _torn(digest)
    fresh = "%s/%s/.new-%s" % (store(), digest[:2], os.urandom(8).hex())
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            wire.write_all(fd, data)
        finally:
            os.close(fd)
        os.rename(fresh, path_of(digest))
    except OSError:
        os.unlink(fresh)
        raise


def _torn(digest):
    return Refused("The bytes of blob %s are not its own; they were not kept." % digest)


def _keep_piece(digest, size, offset, data):
    """A piece of a large one. It may be sent again, by several at once; none may be left out."""
    part = part_of(digest)
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        have = os.fstat(fd).st_size
        if offset > have:
            if os.path.exists(path_of(digest)):
                return  # another sender has just brought the rest
            raise Refused("Of blob %s only %d bytes are here, not %d." % (digest, have, offset))
        at = offset
        while len(data):
            done = os.pwrite(fd, data, at)
            at, data = at + done, data[done:]
        if max(have, at) < size:
            return
        if max(have, at) > size or _digest_of(fd) != digest:
            os.unlink(part)
            raise _torn(digest)
        os.rename(part, path_of(digest))
    except FileNotFoundError:
        if not os.path.exists(path_of(digest)):
            raise
    finally:
        os.close(fd)


def _digest_of(fd):
    import hashlib

    found = hashlib.sha256()
    at = 0
    while True:
        data = os.pread(fd, PIECE, at)
        if not data:
            return found.hexdigest()
        found.update(data)
        at += len(data)


# ------------------------------------------------------------------------------------------- trees


def entries_of(digest):
    """What lies in a folder: (name in bytes, kind, digest, size), or None if its object is not
    here. Refuses one that is none: every name is looked at, because paths are built from them."""
    data = records.read_bytes(path_of(digest), MOST_BYTES)
    if data is None:
        return None
    words = wire.parse_object(data) or {}
    entries = words.get("entries")
    if words.get("format") != 1 or not isinstance(entries, list):
        raise Refused("Blob %s is not a folder that this agent can read." % digest)
    found = []
    for entry in entries:
        if not isinstance(entry, list) or len(entry) < 4:
            raise Refused("Blob %s has an entry that is none." % digest)
        name, kind, inner, size = entry[:4]
        part = wire.to_bytes(name)
        if part in (b"", b".", b"..") or b"/" in part or kind not in KINDS:
            raise Refused("Blob %s has an entry %.200r that cannot be made." % (digest, name))
        check_digest(inner)
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise Refused("Blob %s has an entry %.200r without a size." % (digest, name))
        found.append((part, kind, inner, size))
    return found


def use(digest):
    """Note that a tree is used now: what it is made of is kept for a while."""
    check_digest(digest)
    path = "%s/%s" % (uses(), digest)
    try:
        os.makedirs(uses(), 0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(path)
    except OSError as error:
        raise _unwritable(error) from None


def size_of(digest):
    """How many bytes the files of a tree have, 0 if its object is not here."""
    return sum(size for _, _, _, size in entries_of(check_digest(digest)) or ())


def is_whole(digest, size):
    """Whether a blob is here with all its bytes. One that a crash has cut short is removed."""
    path = path_of(digest)
    try:
        if os.stat(path).st_size == size:
            return True
        os.unlink(path)
    except FileNotFoundError:
        pass
    return False
