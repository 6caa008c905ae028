"""Kinds of backend: ours without a scan, others by entry point, a broken one as one line.

The third parties here are real: a distribution's metadata and its module in a folder on sys.path.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from traindeck.backends import registry
from traindeck.backends.base import Backend, BackendError, UsageError

COMPLETE = """
    from traindeck.backends.base import PROTOCOL, Capability

    class Mine:
        protocol = PROTOCOL
        kind = "mine"
        capabilities = Capability.NONE
        settle = 0.0
        options_schema = {}
        def __init__(self, name, options):
            self.name, self.options = name, options
        async def probe(self): ...
        async def survey(self, spec): ...
        def plan(self, spec, facts): ...
        async def submit(self, plan, secrets=None): ...
        async def find(self, keys=None): ...
        async def poll(self, refs): ...
        def logs(self, ref, *, rank=0, cursor="", follow=True): ...
        async def cancel(self, ref, *, grace=None): ...
        async def aclose(self): ...
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution on the path: `install("their-pkg", "mine = their:Mine", their="…")`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def put(distribution: str, entry: str, **modules: str) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[traindeck.backends]\n{entry}\n")
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
            monkeypatch.delitem(sys.modules, name, raising=False)

    yield put  # type: ignore[misc]
    for name in set(sys.modules) - before:
        if name.startswith("third_"):
            del sys.modules[name]


def test_our_own_kind_makes_a_backend_without_scanning_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(*args: object, **kwargs: object) -> None:
        raise AssertionError("scanned the installed distributions")

    monkeypatch.setattr(importlib.metadata, "entry_points", scan)
    backend = registry.create("here", "process", {"root": str(tmp_path)})
    assert isinstance(backend, Backend)
    assert (backend.name, backend.kind) == ("here", "process")


def test_asking_for_our_own_kind_imports_no_metadata_reader() -> None:
    code = (
        "import sys; from traindeck.backends import registry; registry.load('process');"
        "print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_the_table_and_the_entry_points_of_this_package_are_the_same() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    declared = tomllib.loads(pyproject.read_text())["project"]["entry-points"][registry.GROUP]
    assert declared == dict(registry.IN_TREE)
    for kind in registry.IN_TREE:
        assert callable(registry.load(kind))


def test_a_third_partys_backend_is_found_by_its_entry_point(install: Install) -> None:
    install("their-pkg", "mine = third_mine:Mine", third_mine=COMPLETE)
    backend = registry.create("lab", "mine", {"partition": "gpu"})
    assert backend.name == "lab"
    assert backend.options == {"partition": "gpu"}  # type: ignore[attr-defined]


def test_naming_the_kinds_there_are_imports_nothing_of_a_third_party(install: Install) -> None:
    install("their-pkg", "mine = third_loud:Mine", third_loud="raise RuntimeError('imported')")
    with pytest.raises(UsageError, match=r"There are: (.*, )?mine, (.*, )?process"):
        registry.load("?")
    assert "third_loud" not in sys.modules


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import a_package_that_is_not_there", "a_package_that_is_not_there"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("def Mine(", "SyntaxError"),
        ("Mine = 3", "is no factory"),
        ("x = 1", "Mine"),
        ("raise ValueError('two\\nlines')", "two lines"),
    ],
)
def test_a_broken_third_party_backend_is_one_line_that_names_its_package(
    install: Install, source: str, said: str
) -> None:
    install("their-pkg", "mine = third_broken:Mine", third_broken=source)
    with pytest.raises(BackendError) as caught:
        registry.create("lab", "mine")
    line = str(caught.value)
    assert "\n" not in line and "`mine` of their-pkg" in line and said in line
    assert registry.create("here", "process").kind == "process"


def test_a_third_party_cannot_take_the_name_of_ours(install: Install) -> None:
    install("aaa", "process = third_thief:Mine", third_thief=COMPLETE)
    assert registry.create("here", "process").kind == "process"
    assert "third_thief" not in sys.modules


def test_of_two_that_offer_one_kind_the_first_by_name_counts(install: Install) -> None:
    install("zzz", "mine = third_z:Mine", third_z="raise RuntimeError")
    install("bbb", "mine = third_b:Mine", third_b=COMPLETE)
    assert registry.create("lab", "mine").kind == "mine"


@pytest.mark.parametrize(
    ("spoken", "advice"), [(2, "Upgrade Traindeck"), (0, "Upgrade the package")]
)
def test_a_backend_of_another_protocol_version_is_refused_with_what_to_upgrade(
    install: Install, spoken: int, advice: str
) -> None:
    install("p", "mine = third_old:Mine", third_old=COMPLETE.replace("= PROTOCOL", f"= {spoken}"))
    with pytest.raises(BackendError, match=advice):
        registry.create("lab", "mine")


def test_a_backend_that_lacks_a_method_is_refused_by_its_name(install: Install) -> None:
    install("p", "mine = third_half:Mine", third_half=COMPLETE.replace("def poll", "def pol"))
    with pytest.raises(BackendError, match="has no poll"):
        registry.create("lab", "mine")


def test_a_factory_that_raises_is_one_sentence_and_its_own_words_pass(install: Install) -> None:
    install("p", "mine = third_bad:make", third_bad="def make(name, options): return options['x']")
    with pytest.raises(BackendError, match="`lab` \\(mine\\) cannot be made: KeyError"):
        registry.create("lab", "mine")
    with pytest.raises(UsageError, match="no option 'partition'"):
        registry.create("here", "process", {"partition": "gpu"})


def test_an_unknown_kind_names_the_nearest_or_all() -> None:
    with pytest.raises(UsageError, match="Did you mean 'process'"):
        registry.create("lab", "proces")
    with pytest.raises(UsageError, match=r"There are: (.*, )?process"):
        registry.load("?")
