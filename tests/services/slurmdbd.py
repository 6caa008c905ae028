"""The accounting of a test cluster: a MariaDB of its own on a socket, and slurmdbd before it.

The database lies in the cluster's folder and forgets what it does at a power cut; whoever reaches
the socket, which only root does, may do all.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.services import need

PACKAGES = "slurmdbd mariadb-server-core"
PROGRAMS = ("slurmdbd", "mariadbd")
TABLES = "/usr/share/mysql/mysql_system_tables.sql"
"""Without them there are no stored procedures, and without those slurmdbd forgets users silently:
that of all things it does not say."""

EXAMPLE = """\
add account ml GrpTRES=gres/gpu=2
add account vision
add account other
add qos high MaxWall=01:00:00 MaxJobsPU=1
add qos strict MaxWall=00:30:00 Flags=DenyOnLimit
add qos theirs
add user root account=ml,vision DefaultAccount=vision
modify user root where account=ml set qos+=high,strict
add user nobody account=other
"""
"""For sacctmgr: accounts of which root may charge some, and QOS of which it may use some."""

DATABASE = (
    "--no-defaults",
    "--user=root",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--aria-log-file-size=8M",
)


def settings(folder: Path, port: int) -> dict[str, str]:
    """Lines of slurm.conf of a cluster that has it."""
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(port),
        # So munge's socket is said to sacctmgr and sacct, which do not read AuthInfo for it.
        "AccountingStoragePass": f"{folder}/run/munge.sock",
        "AccountingStorageEnforce": "associations,limits,qos",
        "AccountingStorageTRES": "gres/gpu",
    }


def database(folder: Path) -> tuple[str, ...]:
    """The argv of the database, which is made if it is not there."""
    argv = (need("mariadbd", PACKAGES), *DATABASE, f"--datadir={folder}/db")
    if not (folder / "db").exists():
        (folder / "db").mkdir()
        tables = Path(need(TABLES, PACKAGES)).read_bytes()
        with (folder / "log" / "mariadbd.out").open("ab") as out:
            subprocess.run(
                [*argv, "--bootstrap"],
                input=b"create database mysql;\nuse mysql;\n" + tables,
                stdout=out,
                stderr=out,
                check=True,
            )
    return (
        *argv,
        "--skip-grant-tables",
        "--skip-networking",
        f"--socket={socket(folder)}",
        f"--pid-file={folder}/run/mariadbd.pid",
    )


def socket(folder: Path) -> Path:
    """Where the database listens."""
    return folder / "run" / "db.sock"


def environment(folder: Path) -> Mapping[str, str]:
    """How slurmdbd, which can be told only a host and a port, finds the socket."""
    return {"MYSQL_UNIX_PORT": str(socket(folder))}


def configure(folder: Path, port: int) -> None:
    """Write slurmdbd.conf, which must lie beside slurm.conf and be the owner's alone."""
    lines = {
        "DbdHost": "localhost",
        "DbdAddr": "127.0.0.1",
        "DbdPort": str(port),
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/run/munge.sock",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "root",
        "StorageLoc": "slurm",
        "PidFile": f"{folder}/run/slurmdbd.pid",
        "LogFile": f"{folder}/log/slurmdbd.log",
    }
    path = folder / "slurmdbd.conf"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
