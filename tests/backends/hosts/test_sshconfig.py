"""A host is reached as the user's own `ssh` would reach it: what we find out is held to what ssh
says when it is about to do it."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services import need
from tests.services.sshd import Box, Sshd

from traindeck.backends.errors import BackendError, TraindeckError, Unreachable, UsageError
from traindeck.backends.hosts import sshconfig
from traindeck.backends.hosts.sshconfig import resolve, unresolved
from traindeck.backends.hosts.sshhosts import hosts_in_config

ACCOUNT = pwd.getpwuid(os.getuid())


@pytest.fixture(autouse=True)
def there_is_ssh() -> None:
    need("ssh", "openssh-client")


class Config:
    """A configuration for `ssh -F`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config"

    def __call__(self, text: str) -> str:
        self.path.write_text(text)
        return str(self.path)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path)


def test_what_ssh_knows_of_a_host_is_known(config: Config) -> None:
    file = config(
        """
        Host gpu1
          HostName 10.0.0.1
          Port 2222
          User ada
          IdentitiesOnly yes
          HostKeyAlias cluster
          StrictHostKeyChecking accept-new
          HashKnownHosts yes
          ServerAliveInterval 15
          ServerAliveCountMax 2
          ConnectTimeout 7
          PreferredAuthentications publickey,password
          KbdInteractiveAuthentication no
          ForwardAgent yes
          AddressFamily inet6
          BindAddress ::1
          RemoteCommand tmux attach
          IdentityAgent none
          UserKnownHostsFile none
          GlobalKnownHostsFile /etc/one "/etc/with space" ~/two
        """
    )
    host = resolve("gpu1", config_file=file)
    assert (host.alias, host.hostname, host.port, host.user) == ("gpu1", "10.0.0.1", 2222, "ada")
    assert host.ssh == (need("ssh", "openssh-client"), "-F", file)
    assert host.identities_only and host.hash_known_hosts and host.forward_agent
    assert (host.host_key_alias, host.strict_host_key_checking) == ("cluster", "accept-new")
    assert (host.server_alive_interval, host.server_alive_count) == (15.0, 2)
    assert host.connect_timeout == 7.0
    assert host.preferred_authentications == ("publickey", "password")
    assert host.password_authentication and not host.kbdint_authentication
    assert (host.address_family, host.bind_address) == ("inet6", "::1")
    assert host.remote_command == "tmux attach"
    assert (host.identity_agent, host.user_known_hosts) == ("", ())
    assert host.global_known_hosts[:2] == ("/etc/one", "/etc/with space")
    assert host.global_known_hosts[2].endswith("/two")
    assert host.jumps == () and host.proxy_command == "" and host.warnings == ()


def test_any_name_is_a_host_with_the_usual_settings(config: Config) -> None:
    file = config("")
    host = resolve("ada@somewhere", config_file=file)
    assert (host.hostname, host.port, host.user) == ("somewhere", 22, "ada")
    assert host.user_known_hosts[0] == f"{ACCOUNT.pw_dir}/.ssh/known_hosts"
    assert (host.connect_timeout, host.server_alive_interval) == (None, 0.0)
    assert (host.strict_host_key_checking, host.identities_only) == ("ask", False)
    assert f"{ACCOUNT.pw_dir}/.ssh/id_ed25519" in host.identity_files
    assert resolve("somewhere", config_file=file).user == ACCOUNT.pw_name


@pytest.mark.parametrize(
    ("given", "meant"), [("yes", "yes"), ("no", "no"), ("off", "no"), ("ask", "ask")]
)
def test_how_strict_ssh_is_with_host_keys_is_told(config: Config, given: str, meant: str) -> None:
    file = config(f"StrictHostKeyChecking {given}")
    assert resolve("x", config_file=file).strict_host_key_checking == meant


PATHS = [
    "~/keys/id",
    "~/%h/%n/%p/%r",
    "%d/%u-%i-%L-%l",
    "${FOLDER}/id",
    '"${FOLDER}/with space %%"',
    "/keys/%k",
    "/keys/%C",
    "~root/id",
    "none",
]


def test_every_path_of_a_key_is_the_one_that_ssh_opens(config: Config) -> None:
    lines = "".join(f"\n  IdentityFile {path}" for path in PATHS)
    file = config(f"Host a\n  HostName real.%h\n  Port 2200\n  User ada{lines}\n")
    environ = {**os.environ, "FOLDER": "/f", "SSH_AUTH_SOCK": ""}
    host = resolve("a", config_file=file, environ=environ)
    command = ["ssh", "-v", "-F", file, "-o", "ProxyCommand=false", "-o", "BatchMode=yes", "a"]
    said = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60).stderr
    opened = re.findall(r"identity file (.*) type -?\d+$", said, re.MULTILINE)
    assert list(host.identity_files) == [p for p in opened if not p.endswith("-cert")]
    assert len(host.identity_files) == len(PATHS) - 1


def test_the_agent_is_the_one_that_ssh_asks(config: Config) -> None:
    file = config(
        "Host path\n IdentityAgent ~/a_%h\nHost name\n IdentityAgent $OTHER\n"
        "Host usual\n IdentityAgent SSH_AUTH_SOCK\nHost off\n IdentityAgent none\n"
    )
    environ = {**os.environ, "SSH_AUTH_SOCK": "/usual", "OTHER": "/other"}
    found = {
        name: resolve(name, config_file=file, environ=environ).identity_agent
        for name in ("path", "name", "usual", "off", "unnamed")
    }
    assert found == {
        "path": f"{ACCOUNT.pw_dir}/a_path",
        "name": "/other",
        "usual": "/usual",
        "off": "",
        "unnamed": "/usual",
    }


def test_a_variable_that_is_not_set_is_named(config: Config) -> None:
    file = config("IdentityFile ${NOWHERE_SET}/id\n")
    with pytest.raises(UsageError, match=r"of x has \$\{NOWHERE_SET\}, which has no value"):
        resolve("x", config_file=file)


def test_a_proxy_command_has_its_tokens_filled_in(config: Config) -> None:
    file = config("Host a\n HostName b\n ProxyCommand nc -X 5 %h %p %n %r %% ~\n User u\n")
    assert resolve("a", config_file=file).proxy_command == "nc -X 5 b 22 a u % ~"
    file = config("Host a\n ProxyCommand none\n")
    assert resolve("a", config_file=file).proxy_command == ""


# ------------------------------------------------------------------------------------- jumps


def test_jumps_come_in_the_order_in_which_they_are_dialled(config: Config) -> None:
    file = config(
        """
        Host inner
          ProxyJump ada@first:2201,second,[::1]:2203
        Host first
          ProxyJump gate
          HostName first.example
        Host second
          ProxyJump not-asked
          ProxyCommand not asked
        Host gate
          ProxyCommand connect %h
        """
    )
    host = resolve("inner", config_file=file)
    told = [(hop.alias, hop.hostname, hop.user, hop.port) for hop in host.jumps]
    me = ACCOUNT.pw_name
    assert told == [
        ("gate", "gate", me, 22),
        ("first", "first.example", "ada", 2201),
        ("second", "second", me, 22),
        ("::1", "::1", me, 2203),
    ]
    assert [len(hop.jumps) for hop in host.jumps] == [0, 1, 2, 3]
    assert [hop.proxy_command for hop in host.jumps] == ["connect gate", "", "", ""]
    assert {hop.ssh for hop in host.jumps} == {host.ssh}


def test_jumps_that_lead_in_a_ring_are_refused(config: Config) -> None:
    with pytest.raises(UsageError, match="jumphost loop via a"):  # ssh's own words
        resolve("a", config_file=config("ProxyJump a\n"))
    with pytest.raises(UsageError, match=r"a cannot be reached: .* ring \(a through b through a\)"):
        resolve("a", config_file=config("Host a\n ProxyJump b\nHost b\n ProxyJump a\n"))
    chain = "".join(f"Host h{n}\n ProxyJump h{n + 1}\n" for n in range(20))
    with pytest.raises(UsageError, match="jump hosts lead in a ring"):
        resolve("h0", config_file=config(chain))


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd"), Box(), Box()) as servers:
        yield servers


def test_a_real_host_behind_a_jump_is_resolved_whole(sshd: Sshd) -> None:
    host = resolve("hop1", config_file=str(sshd.config))
    assert (host.port, host.user, host.hostname) == (sshd[1].port, "deck", "127.0.0.1")
    assert host.identity_files == (str(sshd.key),) and host.identities_only
    assert [hop.alias for hop in host.jumps] == ["box0"]
    done = subprocess.run([*host.ssh, host.alias, "echo $HOME"], capture_output=True, text=True)
    assert done.stdout.strip() == str(sshd[1].home), done.stderr


# ------------------------------------------------------------------------------ configurations


def test_include_and_match_are_followed(config: Config, tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host gpu*\n  User included\n")
    (tmp_path / "marker").touch()
    file = config(
        f"Include {tmp_path}/mo*\n"
        f'Match originalhost gpu1 exec "test -e {tmp_path}/marker"\n  Port 2201\n'
        f'Match originalhost gpu1 exec "test -e {tmp_path}/other"\n  HostName wrong\n'
    )
    host = resolve("gpu1", config_file=file)
    assert (host.user, host.port, host.hostname) == ("included", 2201, "gpu1")


def test_the_configuration_of_a_home_that_is_not_the_account_s_is_used(home: Path) -> None:
    assert sshconfig.configuration(None, os.environ) is None
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh/config").write_text("Host gpu1\n  HostName there\n  ProxyJump gate\n")
    host = resolve("gpu1")
    assert host.hostname == "there"
    assert host.ssh[1:] == ("-F", f"{home}/.ssh/config") == host.jumps[0].ssh[1:]
    assert hosts_in_config() == ("gpu1",)
    other = home / "other"
    other.write_text("Host gpu1\n  HostName elsewhere\n")
    assert resolve("gpu1", config_file="~/other").hostname == "elsewhere"
    environ = {**os.environ, "HOME": ACCOUNT.pw_dir}
    assert sshconfig.configuration(None, environ) is None


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"SSH configuration {tmp_path}/no cannot be read"):
        resolve("x", config_file=str(tmp_path / "no"))


def test_what_ssh_finds_wrong_with_the_configuration_is_said(config: Config) -> None:
    file = config("Host x\n  Frobnicate \x1b[31myes\n")
    with pytest.raises(UsageError) as caught:
        resolve("x", config_file=file)
    told = str(caught.value)
    assert f"{file}: line 2: Bad configuration option: frobnicate" in told
    assert "\n" not in told and "\x1b" not in told


@pytest.mark.parametrize(
    "alias",
    [
        *("", "-oProxyCommand=touch x", "a b", "a\nb", "a\0b", "a;b", "$(x)", "`x`", "a|b"),
        *("\x1b[2J", "\u202ex", "x" * 2000),
    ],
)
def test_what_is_no_name_never_reaches_ssh(alias: str) -> None:
    with pytest.raises(UsageError, match="is no name of an SSH host") as caught:
        resolve(alias)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_jump_that_is_no_name_never_reaches_ssh(config: Config) -> None:
    with pytest.raises(TraindeckError):
        resolve("x", config_file=config("ProxyJump -oProxyCommand=touch\n"))


def test_ssh_that_does_not_come_to_an_end_is_given_up(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sshconfig, "_PATIENCE", 1.0)
    pid = tmp_path / "pid"
    with pytest.raises(BackendError, match="does not say how x is reached"):
        resolve("x", config_file=config(f'Match exec "echo $$ > {pid}; exec sleep 1000"\n'))
    started = pid.read_text().strip() if pid.exists() else ""
    while started and Path(f"/proc/{started}").exists():  # what it had started goes too
        time.sleep(0.01)


def test_without_ssh_a_simpler_parser_is_used_and_says_so(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", ACCOUNT.pw_dir)  # which is what it goes by
    file = config(
        "Host gpu1\n HostName b\n Port 2201\n User u\n IdentityFile ~/k_%h\n ProxyJump gate:23\n"
        " UserKnownHostsFile ~/kh /kh\n"
    )
    environ = {"PATH": str(tmp_path)}
    host = resolve("gpu1", config_file=file, environ=environ)
    assert (host.hostname, host.port, host.user) == ("b", 2201, "u")
    assert host.identity_files == (f"{ACCOUNT.pw_dir}/k_b",)
    assert host.user_known_hosts == (f"{ACCOUNT.pw_dir}/kh", "/kh")
    assert [(hop.hostname, hop.port) for hop in host.jumps] == [("gate", 23)]
    assert "without Include" in host.warnings[0]
    other = resolve("ada@x", config_file=file, environ=environ)
    assert (other.hostname, other.user, other.port) == ("x", "ada", 22)
    assert other.identity_files and other.global_known_hosts


# ------------------------------------------------------------------------------ names of hosts


def test_the_hosts_that_are_named_are_listed_with_those_included(
    config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "1").write_text("Host work\n  Include ~/nowhere\n")
    (folder / "2").write_text(f"Host late\nInclude {config.path}\n")  # in a ring
    file = config(
        "# Host comment\n"
        'Host gpu1 gpu2 *.example !gpu3 "quoted" # said\n'
        "host=equals\n"
        "HOST\tgpu1 again\n"
        "Match host matched\n"
        f"  Include {folder}/*\n"
        'Host "no end\n'
        "Host\n"
        "Host -option\n"
    )
    assert hosts_in_config(config_file=file) == (
        *("gpu1", "gpu2", "quoted", "equals", "again"),
        *("work", "late"),
    )


def test_a_huge_or_hostile_configuration_is_read_in_part(config: Config, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    names = "".join(f"Host h{n}\n" for n in range(10_000))
    file = config(f"Include {tmp_path}/*\n" * 50 + names + "\0\xff\n" + "Host " + "x" * 3_000_000)
    assert len(hosts_in_config(config_file=file)) == 2000


def test_a_name_that_is_nobody_s_is_told_with_the_names_that_there_are(config: Config) -> None:
    file = config("Host gpu1\nHost gpu2\n HostName gone.example\n")
    told = unresolved(resolve("gpu3", config_file=file), config_file=file)
    assert isinstance(told, Unreachable)
    assert str(told) == (
        f"gpu3 is no host of {file}, and no machine is called gpu3. The hosts there: gpu1, gpu2."
    )
    told = unresolved(resolve("gpu2", config_file=file), config_file=file)
    assert "No machine is called gone.example, which is the HostName of gpu2" in str(told)
    file = config("")
    told = unresolved(resolve("x", config_file=file), config_file=file)
    assert "No hosts are named there" in str(told)


def test_importing_this_does_not_import_paramiko() -> None:
    modules = ("sshconfig", "sshhosts", "sshneeds", "knownhosts")
    code = "import sys\n" + "".join(f"import traindeck.backends.hosts.{m}\n" for m in modules)
    code += "print(sorted({'paramiko', 'subprocess'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
