"""Our data classes are those of the standard library, but for what it takes to make one."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from traindeck.backends.data import dataclass

FROZEN: dict[str, Any] = {"frozen": True, "slots": True}


def shaped(decorate: Callable[[type], type]) -> type:
    """A class with one of everything that a data class of ours may have."""

    class Shaped:
        """Its words."""

        first: int
        second: str = "b"
        unsaid: float = dataclasses.field(default=0.5, repr=False)
        aside: Any = dataclasses.field(default=None, compare=False)
        many: list[int] = dataclasses.field(default_factory=list)
        named: int = dataclasses.field(default=7, kw_only=True)
        shared: ClassVar[int] = 3

        @property
        def twice(self) -> int:
            return self.first * 2

    return decorate(Shaped)


OURS = shaped(dataclass(**FROZEN))
THEIRS = shaped(dataclasses.dataclass(frozen=True, slots=True))

VALUES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, "b", 0.5, "elsewhere"), {}),
    ((1, "c"), {"unsaid": 2.0}),
    ((1,), {"many": [1, 2], "named": 8}),
    ((), {"first": 2, "aside": object}),
]


@pytest.mark.parametrize(("args", "named"), VALUES)
def test_an_object_is_what_the_standard_library_would_make(
    args: tuple[Any, ...], named: dict[str, Any]
) -> None:
    ours, theirs = OURS(*args, **named), THEIRS(*args, **named)
    assert repr(ours) == repr(theirs)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert dataclasses.astuple(ours) == dataclasses.astuple(theirs)
    assert ours.twice == theirs.twice
    changed = dataclasses.replace(ours, first=5)
    assert repr(changed) == repr(dataclasses.replace(theirs, first=5))
    assert type(changed) is OURS


def test_equality_and_hash_are_of_the_fields_that_are_compared() -> None:
    for a, b in [(x, y) for x in VALUES for y in VALUES]:
        ours = OURS(*a[0], **a[1]) == OURS(*b[0], **b[1])
        assert ours == (THEIRS(*a[0], **a[1]) == THEIRS(*b[0], **b[1]))
    assert OURS(1) != THEIRS(1)
    assert OURS(1).__eq__(THEIRS(1)) is NotImplemented
    ours = dataclass(**FROZEN)(type("One", (), {"__annotations__": {"x": "float"}}))
    nan = float("nan")
    assert ours(nan) == ours(nan) and len({ours(nan), ours(nan), ours(1.0), ours(1.0)}) == 2


def test_each_object_has_a_list_of_its_own() -> None:
    one, other = OURS(1), OURS(1)
    assert one.many == [] and one.many is not other.many


@pytest.mark.parametrize("made", [OURS, THEIRS])
def test_it_cannot_be_changed_and_has_no_room_for_more(made: Any) -> None:
    one = made(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'first'"):
        one.first = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'first'"):
        del one.first
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError, AttributeError)):
        one.other = 2
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("wrong", [((), {}), ((1,), {"first": 2}), ((1,), {"unknown": 2})])
def test_wrong_arguments_are_refused_alike(wrong: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    args, named = wrong
    with pytest.raises(TypeError) as ours:
        OURS(*args, **named)
    with pytest.raises(TypeError) as theirs:
        THEIRS(*args, **named)
    assert str(ours.value) == str(theirs.value)


def test_what_describes_the_class_is_the_same() -> None:
    assert OURS.__doc__ == THEIRS.__doc__
    assert OURS.__match_args__ == THEIRS.__match_args__  # type: ignore[attr-defined]
    assert OURS.__slots__ == THEIRS.__slots__  # type: ignore[attr-defined]
    assert str(OURS.__dataclass_params__) == str(THEIRS.__dataclass_params__)  # type: ignore[attr-defined]
    ours, theirs = inspect.signature(OURS), inspect.signature(THEIRS)
    assert [(p.name, p.kind) for p in ours.parameters.values()] == [
        (p.name, p.kind) for p in theirs.parameters.values()
    ]
    for a, b in zip(dataclasses.fields(OURS), dataclasses.fields(THEIRS), strict=True):
        assert (a.name, a.type, a.default, a.kw_only, a.compare) == (
            b.name,
            b.type,
            b.default,
            b.kw_only,
            b.compare,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One that travels between processes."""

    name: str = ""
    parts: tuple[int, ...] = ()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_it_can_be_copied_and_sent(protocol: int) -> None:
    one = Sent(name="a", parts=(1, 2))
    for other in (pickle.loads(pickle.dumps(one, protocol)), copy.copy(one), copy.deepcopy(one)):
        assert other == one and type(other) is Sent


def test_what_a_class_says_itself_is_kept() -> None:
    @dataclass(frozen=True, slots=True)
    class Own:
        x: int

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

    assert repr(Own(1)) == "own" and Own(1) == Own(2)
    assert hash(Own(1)) == hash((1,))  # as the standard one: frozen, so by its fields

    @dataclass(frozen=True, slots=True, eq=False)
    class Itself:
        x: int

    assert Itself(1) != Itself(1)


@pytest.mark.parametrize("decorate", [dataclass, dataclasses.dataclass])
def test_a_class_of_data_may_build_on_it(decorate: Any) -> None:
    @decorate(frozen=True, slots=True, kw_only=True)
    class More(Sent):
        extra: int = 1

    assert repr(More(name="a", extra=2)).endswith("More(name='a', parts=(), extra=2)")
    with pytest.raises(dataclasses.FrozenInstanceError):
        More().extra = 3  # type: ignore[misc]


@dataclasses.dataclass(frozen=True)
class Built(Sent):
    """One of the standard library's on one of ours, with room for more."""

    extra: int = 1


@dataclass(frozen=True)
class BuiltOfOurs(Sent):
    """The same, all of ours."""

    extra: int = 1


@pytest.mark.parametrize("made", [Built, BuiltOfOurs])
def test_what_is_built_on_it_is_copied_and_sent_with_its_own_fields(made: Any) -> None:
    one = made(name="a", extra=2)
    for other in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert (other.name, other.extra) == ("a", 2)


def test_other_options_are_the_standard_librarys() -> None:
    @dataclass(order=True, frozen=True, slots=True)
    class Ordered:
        x: int

    @dataclass
    class Plain:
        x: int = 1

    assert Ordered(1) < Ordered(2)
    plain = Plain()
    plain.x = 2
    assert plain == Plain(2)


def test_what_comes_after_the_fields_are_set_is_called() -> None:
    seen: list[int] = []

    @dataclass(frozen=True, slots=True)
    class Checked:
        x: int

        def __post_init__(self) -> None:
            seen.append(self.x)

    Checked(4)
    assert seen == [4]
