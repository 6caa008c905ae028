"""`seen`: what `x` says on the screen."""

from __future__ import annotations

from .conftest import Cli


def test_what_is_seen_needs_nobody_until_it_fails_again(cli: Cli) -> None:
    failed = [cli.run("false", options=("--name", name)) for name in ("one", "two")]
    fine = cli.run("true", options=("--name", "fine"))
    cli("wait", *failed, fine)
    assert set(cli.ok("ls", "-q", "is:needs-you").split()) == set(failed)
    assert cli.ok("seen", "-q", "one", failed[0], fine).split() == [failed[0]]
    assert cli.ok("ls", "-q", "is:needs-you").split() == [failed[1]]
    (answer,) = cli.json("seen", "--json", failed[1])
    assert (answer["id"], answer["state"]) == (failed[1], "failed")
    done = cli("seen", failed[1], "fine")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "traindeck: two needs nobody.\ntraindeck: fine needs nobody.\n"
    cli.ok("reindex")
    assert cli.ok("ls", "-q", "is:needs-you") == "", "it is noted, not only indexed"
    cli("retry", "-q", "two")
    cli("wait", "two")
    assert cli.ok("ls", "-q", "is:needs-you").split() == [failed[1]]
    assert cli("seen", "one", "nobody").returncode == 2
