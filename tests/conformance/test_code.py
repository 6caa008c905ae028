"""Code that travels: a tree, laid out for every run as its own."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from tests.conformance.conftest import Suite
from tests.conformance.test_files import files_of, walk
from tests.fakes.content import MemoryContent

from traindeck.backends.base import BackendError, Blob, Plan, plan_digest

ODD = "odd \n\udcff \u00e9 '$x'"


def content(suite: Suite, **more: bytes) -> MemoryContent:
    """Some code, with what may be lost on its way."""
    files = {
        "train.py": b"print(1)\n",
        "empty.py": b"",
        "pkg/deep/er/a.py": b"a = 1\n",
        "pkg/same.py": b"print(1)\n",
        f"pkg/{ODD}": b"odd",
        "large.bin": bytes(range(256)) * 12_000,
        **more,
    }
    return MemoryContent(files, ["out", "pkg/cache/x"], executable=["train.py"])


async def test_a_job_finds_the_code_as_it_was_captured(suite: Suite) -> None:
    files = files_of(suite)
    made = content(suite)
    spec = suite.spec("out:x", code=replace(made.code, root=suite.subject.cwd))
    ref = await suite.submit(await suite.plan(spec))
    await suite.until(ref)
    found = {path: data async for path, data in walk(files, ref, "code")}
    assert found == {
        "code/train.py": b"print(1)\n",
        "code/empty.py": b"",
        "code/pkg/deep/er/a.py": b"a = 1\n",
        "code/pkg/same.py": b"print(1)\n",
        f"code/pkg/{ODD}": b"odd",
        "code/large.bin": bytes(range(256)) * 12_000,
    }
    for folder in ("code", "code/pkg/cache"):
        assert any(entry.is_dir for entry in await files.list_files(ref, folder))


async def test_what_was_captured_beside_the_code_lies_in_it(suite: Suite) -> None:
    files = files_of(suite)
    blob = Blob(digest=hashlib.sha256(b"+1").hexdigest(), size=2, data=b"+1")
    code = replace(content(suite).code, root=suite.subject.cwd)
    spec = suite.spec("out:x", code=code, files={"code/.traindeck/diff.patch": blob})
    ref = await suite.submit(await suite.plan(spec))
    await suite.until(ref)
    assert await files.read_file(ref, "code/.traindeck/diff.patch", 0, 10) == b"+1"
    assert await files.read_file(ref, "code/train.py", 0, 10) == b"print(1)\n"


async def test_a_plan_names_its_code_by_content_and_stays_small(suite: Suite) -> None:
    many = MemoryContent({f"{n // 100}/{n}.py": b"%d" % n for n in range(2_000)})
    spec = suite.spec("out:x", code=replace(many.code, root=suite.subject.cwd))
    plan = await suite.plan(spec)
    other = MemoryContent({f"{n // 100}/{n}.py": b"%d" % (n % 1999) for n in range(2_000)})
    changed = replace(plan.spec, code=replace(plan.spec.code, tree=other.tree))
    assert plan_digest(replace(plan, spec=changed)) != plan.digest
    assert len(plan.files) < 10 and plan.spec.files == {}


async def test_code_that_changed_after_the_plan_was_made_is_not_started(suite: Suite) -> None:
    made = content(suite)
    plan = await suite.plan(suite.spec("out:x", code=replace(made.code, root=suite.subject.cwd)))
    digest = hashlib.sha256(b"a = 1\n").hexdigest()
    made.data[digest] = b"a = 2\n"
    with pytest.raises(BackendError, match="changed"):
        await suite.backend.submit(plan)
    assert await suite.backend.find([(plan.spec.run_id, 0)]) == []


async def test_code_that_is_not_here_any_more_is_refused(suite: Suite) -> None:
    made = content(suite)
    plan = await suite.plan(suite.spec("out:x", code=replace(made.code, root=suite.subject.cwd)))
    tree = replace(made.tree, content=None)
    plan = replace(plan, spec=replace(plan.spec, code=replace(plan.spec.code, tree=tree)))
    with pytest.raises(BackendError, match="not here any more"):
        await suite.backend.submit(plan)
    assert await suite.backend.find([(plan.spec.run_id, 0)]) == []


async def test_a_retry_runs_the_code_that_was_sent_at_first(suite: Suite) -> None:
    files = files_of(suite)
    made = content(suite)
    plan = await suite.plan(suite.spec("exit:1", code=replace(made.code, root=suite.subject.cwd)))
    await suite.until(await suite.submit(plan))
    tree = replace(made.tree, content=None)
    again = replace(plan.spec, attempt=1, files={}, code=replace(plan.spec.code, tree=tree))
    retry = Plan(backend=plan.backend, spec=again, argv=again.argv, env=dict(again.env))
    ref = await suite.submit(replace(retry, digest=plan_digest(retry)))
    assert (await suite.until(ref, attempt=1)).exit_code == 1
    assert await files.read_file(ref, "code/train.py", 0, 10) == b"print(1)\n"
