"""What a kind of backend could reach by the files of this user."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from traindeck.backends import registry
from traindeck.backends.base import BackendError, UsageError


def test_ssh_finds_what_its_configuration_names_and_others_find_nothing(home: Path) -> None:
    assert registry.discover("ssh") == ()
    (home / ".ssh").mkdir()
    (home / ".ssh/config").write_text("Host a b\nHost *\n")
    assert registry.discover("ssh") == ("a", "b")
    other = home / "other"
    other.write_text("Host c\n")
    assert registry.discover("ssh", {"ssh_config": str(other)}) == ("c",)
    assert registry.discover("process") == ()
    with pytest.raises(UsageError, match="missing"):
        registry.discover("ssh", {"ssh_config": str(home / "missing")})


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("quantum_backend")

    def make(name: str, options: Any) -> Any:
        raise NotImplementedError

    make.__module__ = module.__name__
    vars(module)["make"] = make
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(
        registry, "IN_TREE", {**registry.IN_TREE, "quantum": "quantum_backend:make"}
    )
    return module


def test_a_kind_from_elsewhere_may_find_something_too_and_its_faults_are_words(
    third_party: ModuleType,
) -> None:
    assert registry.discover("quantum") == ()
    vars(third_party)["discover"] = lambda options: ["q1", "q2"]
    assert registry.discover("quantum") == ("q1", "q2")
    vars(third_party)["discover"] = lambda options: 1 / 0
    with pytest.raises(BackendError, match="quantum cannot be found: ZeroDivisionError"):
        registry.discover("quantum")
