"""Host keys are judged as OpenSSH judges them: the real programs are asked about the same files."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.services import need
from tests.services.sshd import Box, Sshd, make_key

from traindeck.backends.errors import BackendError
from traindeck.backends.hosts import knownhosts
from traindeck.backends.hosts.knownhosts import Known
from traindeck.backends.hosts.sshconfig import Target, resolve

ED = "ssh-ed25519"
SSH_SAYS = {
    "is known and matches": Known.KNOWN,
    "REMOTE HOST IDENTIFICATION HAS CHANGED": Known.CHANGED,
    "REVOKED HOST KEY DETECTED": Known.REVOKED,
    "Host key verification failed": Known.UNKNOWN,
}


class Keys:
    """Keys by name, as `TYPE BASE64`: the second word of the name is the type."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> str:
        path = self.folder / name
        if not path.exists():
            make_key(path, name.split("-")[1])
        return " ".join(Path(f"{path}.pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd"), Box(), Box(keys=("ed25519", "rsa"))) as servers:
        yield servers


def blob(key: str) -> tuple[str, bytes]:
    kind, text = key.split()
    return kind, base64.b64decode(text)


def target(file: Path, **fields: object) -> Target:
    known = {"alias": "gpu1", "hostname": "gpu1.example", "user_known_hosts": (str(file),)}
    return Target(**{**known, **fields})  # type: ignore[arg-type]


LINES = {
    "nothing": ("", Known.UNKNOWN),
    "the key": ("{place} {key}", Known.KNOWN),
    "the key, a tab, a comment": ("{place}\t{key} of my box", Known.KNOWN),
    "the key among others": ("x,{place},y {key}", Known.KNOWN),
    "the key after a line that is wrong": ("x ssh-ed25519 AAAA\n{place} {key}", Known.KNOWN),
    "the key without an end of line": ("{place} {key}\0", Known.KNOWN),
    "the key as Windows writes it": ("{place} {key}\r", Known.KNOWN),
    "the key and another": ("{place} {other}\n{place} {key}", Known.KNOWN),
    "another key": ("{place} {other}", Known.CHANGED),
    "a key of another type": ("{place} {rsa}", Known.CHANGED),
    "a comment": ("# {place} {key}", Known.UNKNOWN),
    "a marker nobody knows": ("@trusted {place} {key}", Known.UNKNOWN),
    "the wrong type for the key": ("{place} ssh-rsa {base64}", Known.UNKNOWN),
    "half a key": ("{place} ssh-ed25519 {half}", Known.UNKNOWN),
    "another port": ("[127.0.0.1]:1 {key}", Known.UNKNOWN),
    "the name without the port": ("127.0.0.1 {key}", Known.KNOWN),
    "another key of the name without the port": ("127.0.0.1 {other}", Known.UNKNOWN),
    "a pattern": ("[127.0.0.*]:* {key}", Known.KNOWN),
    "a pattern with a question mark": ("[127.0.0.?]:* {key}", Known.KNOWN),
    "a pattern that is taken back": ("[127.*,!{place} {key}", Known.UNKNOWN),
    "revoked": ("{place} {key}\n@revoked * {key}", Known.REVOKED),
    "revoked under the name alone": ("@revoked 127.0.0.1 {key}", Known.REVOKED),
    "another one revoked": ("{place} {key}\n@revoked * {other}", Known.KNOWN),
    "two markers": ("@revoked @cert-authority {place} {key}", Known.UNKNOWN),
}


@pytest.mark.parametrize("case", LINES)
def test_a_host_key_is_judged_as_ssh_judges_it(sshd: Sshd, keys: Keys, case: str) -> None:
    lines, expected = LINES[case]
    key = sshd[0].public_keys[0]
    text = lines.format(
        place=f"[127.0.0.1]:{sshd[0].port}",
        key=key,
        base64=key.split()[1],
        half=key.split()[1][:40],
        other=keys["other-ed25519"],
        rsa=keys["other-rsa"],
    )
    end = "" if text.endswith("\0") else "\n"
    sshd.known_hosts.write_bytes((text.rstrip("\0") + end).encode())
    done = subprocess.run(
        sshd.ssh("box0", "true", options=["-v"]), capture_output=True, text=True, timeout=60
    )
    told = next(known for words, known in SSH_SAYS.items() if words in done.stderr)
    verdict = knownhosts.verify(resolve("box0", config_file=str(sshd.config)), *blob(key))
    assert (told, verdict.known) == (expected, expected)


def test_the_types_that_are_known_are_asked_for_first(sshd: Sshd) -> None:
    place, (ed, rsa) = f"[127.0.0.1]:{sshd[1].port}", sshd[1].public_keys
    box = resolve("box1", config_file=str(sshd.config))
    sshd.known_hosts.write_text(f"{place} {rsa}\n")
    assert knownhosts.preferred_key_types(box) == ("ssh-rsa",)
    sshd.known_hosts.write_text(f"{place} {rsa}\n{place} {ed}\n")
    assert knownhosts.preferred_key_types(box) == (ED, "ssh-rsa")
    sshd.known_hosts.write_text(f"{place} {rsa}\n{place} {ed}\n@revoked * {ed}\n")
    assert knownhosts.preferred_key_types(box) == ("ssh-rsa",)
    sshd.known_hosts.write_text("")
    assert knownhosts.preferred_key_types(box) == ()


def test_an_authority_is_told_from_an_unknown_host(tmp_path: Path, keys: Keys) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"\n@cert-authority *.example {keys['ca-ed25519']}\n")
    host = target(file)
    verdict = knownhosts.verify(host, *blob(keys["host-ed25519"]))
    assert (verdict.known, verdict.line) == (Known.AUTHORITY, 2)
    entry = knownhosts.authority(host)
    assert entry is not None and entry.line == 2
    assert "transport: openssh" in str(knownhosts.refusal(host, verdict))
    file.write_text(file.read_text() + f"gpu1.example {keys['host-ed25519']}\n")
    assert knownhosts.verify(host, *blob(keys["host-ed25519"])).known is Known.KNOWN
    assert knownhosts.authority(host) is None


def test_a_changed_key_names_the_line_with_the_key_of_its_type(tmp_path: Path, keys: Keys) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"gpu1.example {keys['x-rsa']}\ngpu1.example {keys['x-ed25519']}\n")
    verdict = knownhosts.verify(target(file), *blob(keys["host-ed25519"]))
    assert (verdict.known, verdict.line, verdict.file) == (Known.CHANGED, 2, str(file))
    told = str(knownhosts.refusal(target(file), verdict))
    assert verdict.fingerprint in told and f"{file}, line 2" in told


def test_an_alias_for_host_keys_has_no_port(tmp_path: Path, keys: Keys) -> None:
    file = tmp_path / "known_hosts"
    host = target(file, host_key_alias="Cluster", port=2222)
    knownhosts.remember(host, *blob(keys["host-ed25519"]))
    assert file.read_text().startswith("cluster ssh-ed25519 ")
    assert knownhosts.verify(host, *blob(keys["host-ed25519"])).known is Known.KNOWN


def test_the_system_s_file_counts_too(tmp_path: Path, keys: Keys) -> None:
    host = target(tmp_path / "none", global_known_hosts=(str(tmp_path / "system"),))
    (tmp_path / "system").write_text(f"GPU1.Example {keys['host-ed25519']}\n")
    assert knownhosts.verify(host, *blob(keys["host-ed25519"])).known is Known.KNOWN


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_fingerprint_is_what_ssh_keygen_prints(keys: Keys, kind: str) -> None:
    name = f"f-{kind}"
    key = keys[name]
    told = keygen("-l", "-f", str(keys.folder / f"{name}.pub"))
    assert knownhosts.fingerprint(blob(key)[1]) == told.split()[1]


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("port", [22, 2222])
def test_what_is_remembered_is_found_by_ssh_keygen_and_by_us(
    tmp_path: Path, keys: Keys, hashed: bool, port: int
) -> None:
    file = tmp_path / "home/.ssh/known_hosts"
    (tmp_path / "home").mkdir()
    host = target(file, port=port, hash_known_hosts=hashed)
    assert knownhosts.remember(host, *blob(keys["host-ed25519"])) == str(file)
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    name = "gpu1.example" if port == 22 else "[gpu1.example]:2222"
    assert keys["host-ed25519"] in keygen("-F", name, "-f", str(file))
    assert ("gpu1" in file.read_text()) is not hashed
    assert knownhosts.verify(host, *blob(keys["host-ed25519"])).known is Known.KNOWN
    other = target(file, port=port + 1)
    expected = Known.KNOWN if port == 22 else Known.UNKNOWN
    assert knownhosts.verify(other, *blob(keys["host-ed25519"])).known is expected


def test_what_ssh_keygen_has_hashed_is_found(tmp_path: Path, keys: Keys) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"gpu1.example,10.0.0.1 {keys['host-ed25519']}\n[x]:22 {keys['x-rsa']}\n")
    keygen("-H", "-f", str(file))
    assert "gpu1" not in file.read_text()
    assert knownhosts.verify(target(file), *blob(keys["host-ed25519"])).known is Known.KNOWN
    host = target(file, hostname="10.0.0.1")
    assert knownhosts.verify(host, *blob(keys["host-ed25519"])).known is Known.KNOWN


def test_a_file_is_only_ever_added_to(tmp_path: Path, keys: Keys) -> None:
    file = tmp_path / "known_hosts"
    before = b"# mine\n@cert-authority * nonsense\nx\xff y z"  # the last line has no end
    file.write_bytes(before)
    file.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(file)
    knownhosts.remember(target(link), *blob(keys["host-ed25519"]))
    knownhosts.remember(target(link, hostname="b"), *blob(keys["host-ed25519"]))
    key = keys["host-ed25519"].encode()
    assert file.read_bytes() == before + b"\ngpu1.example " + key + b"\nb " + key + b"\n"
    assert link.is_symlink() and file.stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_remembered_is_said(tmp_path: Path, keys: Keys) -> None:
    key = blob(keys["host-ed25519"])
    with pytest.raises(BackendError, match="UserKnownHostsFile is none"):
        knownhosts.remember(target(tmp_path, user_known_hosts=()), *key)
    with pytest.raises(BackendError, match="cannot be written"):
        knownhosts.remember(target(tmp_path), *key)
    for name in ("a\nb", "a b", "a,b", "*", "|1|", "#x"):
        with pytest.raises(BackendError, match="cannot be remembered under"):
            knownhosts.remember(target(tmp_path / "f", hostname=name), *key)
    with pytest.raises(BackendError, match="a host key that cannot be remembered"):
        knownhosts.remember(target(tmp_path / "f"), "x\ny", b"\0")
    assert not (tmp_path / "f").exists()


def test_a_file_that_is_no_file_is_passed_over(tmp_path: Path, keys: Keys) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), Path("/nowhere/\0")):
        assert list(knownhosts.read(str(path))) == []


def test_a_line_without_an_end_costs_no_memory_and_not_the_next_one(
    tmp_path: Path, keys: Keys
) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(b"x" * 1_000_000 + b"\ngpu1.example " + keys["host-ed25519"].encode())
    verdict = knownhosts.verify(target(file), *blob(keys["host-ed25519"]))
    assert (verdict.known, verdict.line) == (Known.KNOWN, 2)


SOME = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)).decode()


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.sampled_from([b"@revoked ", b"@cert-authority\t", b"|1|", b"*,!", b" ", b"\t"]),
            st.just(SOME.encode()),
        ),
        max_size=30,
    ),
    st.text(max_size=30),
)
@example([b"|1|\xff|\xff ", SOME.encode()], "a")
@example([b"|1|AA|BB|CC ", SOME.encode()], "\udcff")
def test_no_bytes_stop_the_lines_after_them_from_being_read(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], name: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed"
    good = f"gpu1.example {SOME}".encode()
    file.write_bytes(b"".join(parts) + b"\n" + good)
    assert any(entry.hosts == "gpu1.example" for entry in knownhosts.read(str(file)))
    knownhosts.verify(target(file, hostname=name), *blob(SOME))


@given(st.text("ab.*?!,", max_size=20), st.text("ab.", min_size=1, max_size=12))
def test_patterns_mean_what_they_mean_to_fnmatch(pattern: str, name: str) -> None:
    from fnmatch import fnmatchcase

    parts = pattern.split(",")
    refused = any(p.startswith("!") and fnmatchcase(name, p[1:]) for p in parts)
    found = any(not p.startswith("!") and fnmatchcase(name, p) for p in parts)
    assert knownhosts.matches(pattern, name) is (found and not refused)


def test_a_pattern_made_to_be_slow_is_not() -> None:
    assert not knownhosts.matches("*a" * 400 + "b", "a" * 1000)


def keygen(*words: str) -> str:
    program = need("ssh-keygen", "openssh-client")
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
