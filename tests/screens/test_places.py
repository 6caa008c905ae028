"""Places on the Settings screen, and what a connection asks the person in front of any screen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_harness import SIZES
from screen_harness import CheckScreen, MakeApp, burst, settle
from screen_svg import screen_text
from tests.fakes.launch import FakeLaunchServices, launch_services
from tests.fakes.runs import NOW

from traindeck.backends.asking import Stranger
from traindeck.backends.base import Health, Reach, Unreachable, UsageError
from traindeck.console.present.settings_view import BACKEND, FOUND
from traindeck.console.runs.drafting import Draft, Drafted
from traindeck.console.runs.placing import Found
from traindeck.console.settings import BackendSettings, Source, load
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.questions import ScreenAsker
from traindeck.console.tui.screens import asking
from traindeck.console.tui.screens import settings as settings_screen
from traindeck.console.tui.screens.asking import SecretScreen, TrustScreen
from traindeck.console.tui.screens.launch import LaunchScreen
from traindeck.console.tui.screens.settings import SettingsScreen
from traindeck.console.tui.services import Place

STRANGER = Stranger(
    host="gpu1",
    address="gpu1 (10.20.0.7, port 2222)",
    key_type="ssh-ed25519",
    fingerprint="SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE",
    file="~/.ssh/known_hosts",
)
PROMPT = "Password of user1@gpu1:"
SECRET = "tr0ub4dor&3 t"


# ------------------------------------------------------------------------------ the Settings screen


def far_services() -> FakeLaunchServices:
    """Four places: one that answers, one in a pause, one that waits for a person."""
    services = launch_services()
    services._places = (
        Place(name="local", seen_at=NOW),
        Place(name="gpu2", reach=Reach.DOWN, seen_at=NOW - 360, next_try=NOW + 12),
        Place(name="gpu3", reach=Reach.DOWN, person=True),
    )
    services.said = {
        "gpu2": "gpu2 (10.20.0.8) did not answer within 15 s.",
        "gpu3": "gpu3 is not known yet: its host key is ED25519 "
        "SHA256:uIzSSGRZP/41nj9fiR+s6JmB9VXkRcWMpwa66glomUQ. Compare that with what who runs the "
        "host says, then accept it with --accept-new.",
    }
    services.there = [
        Found(kind="ssh", host="gpu4"),
        Found(kind="ssh", host="login1"),
        Found(kind="ssh", host="github.com"),
    ]
    return services


@pytest.fixture
def fixed_file(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings_screen, "_stamp_of", lambda _: settings_screen.UNREAD)
    return Path("/home/user1/.config/traindeck/settings.yaml")


def with_places(make_app: MakeApp, path: Path) -> tuple[TraindeckApp, FakeLaunchServices]:
    services = far_services()
    names = ("gpu2", "gpu3")
    app = make_app(
        services,
        path=path,
        backends={
            "local": BackendSettings(),
            **{name: BackendSettings(name=name, kind="ssh") for name in names},
        },
        sources={
            f"{BACKEND}{name}": Source(kind="file", where=f"{path}, line {4 + 2 * number}")
            for number, name in enumerate(names)
        },
    )
    return app, services


async def opened(app: TraindeckApp, pilot: Any) -> SettingsScreen:
    screen = app.new_screen("settings")
    assert isinstance(screen, SettingsScreen)
    app.push_screen(screen)
    await settle(app, pilot, lambda: len(screen.health) >= 3 and None not in screen.health.values())
    await settle(app, pilot, lambda: bool(screen.found))
    return screen


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_places_with_their_health_and_what_could_be_added(
    make_app: MakeApp, check_screen: CheckScreen, size: str, fixed_file: Path
) -> None:
    app, services = with_places(make_app, fixed_file)
    async with app.run_test(size=SIZES[size]) as pilot:
        screen = await opened(app, pilot)
        assert {call for call in services.calls if call[0] == "probe"} == {
            ("probe", (name, False)) for name in ("local", "gpu2", "gpu3")
        }
        screen.focus_key = f"{FOUND}ssh.gpu4" if size == "120x40" else f"{BACKEND}gpu2"
        screen.action_row(0)
        await settle(app, pilot, lambda: "next try in 12 s" in screen_text(app))
        check_screen(app, f"settings-places-{size}")


async def test_a_key_checks_a_place_for_a_person_and_one_adds_a_machine(
    make_app: MakeApp, tmp_path: Path
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("backends:\n  gpu2: {kind: ssh}\n  gpu3: {kind: ssh}\n")
    services = far_services()
    app = make_app(services)
    app.settings = load(path, {})
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        screen = await opened(app, pilot)
        screen.focus_key = f"{BACKEND}gpu3"
        await pilot.press("c")
        await settle(app, pilot, lambda: ("probe", ("gpu3", True)) in services.calls)
        assert ("probe", ("gpu2", True)) not in services.calls
        screen.focus_key = f"{FOUND}ssh.login1"
        await pilot.press("c")
        await settle(app, pilot, lambda: "login1 answers, Python" in screen_text(app))
        services.refusal = UsageError("There is a backend login1 already.")
        await pilot.press("a")
        await settle(app, pilot, lambda: "already" in screen_text(app))
        services.refusal = None
        path.write_text(path.read_text() + "  login1: {kind: ssh}\n")  # as the service would
        await pilot.press("a")
        await settle(app, pilot, lambda: screen.focus_key == f"{BACKEND}login1")
        assert [each.host for each in screen.found] == ["gpu4", "github.com"]
        await settle(app, pilot, lambda: "login1 is a backend now" in screen_text(app))


async def test_a_place_that_answers_again_is_asked_again(
    make_app: MakeApp, fixed_file: Path
) -> None:
    app, services = with_places(make_app, fixed_file)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await opened(app, pilot)
        services._places = tuple(Place(name=place.name, seen_at=NOW) for place in services._places)
        await settle(app, pilot, lambda: "next try" not in screen_text(app))
        await settle(app, pilot, lambda: "did not answer" not in screen_text(app))


# ------------------------------------------------------------------------------------- questions


class Dialler:
    """A connection that asks, on a thread of its own."""

    def __init__(self, asker: ScreenAsker) -> None:
        self.asker = asker
        self.answers: list[object] = []
        self.threads: list[threading.Thread] = []

    def asks(self, *questions: str) -> None:
        def dial() -> None:
            for question in questions:
                if question == "key":
                    self.answers.append(self.asker.trusts(STRANGER))
                else:
                    self.answers.append(self.asker.secret("gpu1", PROMPT))

        thread = threading.Thread(target=dial)
        self.threads.append(thread)
        thread.start()


@pytest.fixture
def dialler() -> Iterator[Dialler]:
    made = Dialler(ScreenAsker())
    yield made
    made.asker.close()
    for thread in made.threads:
        thread.join(10)
        assert not thread.is_alive()


def ready(app: TraindeckApp) -> bool:
    """Whether a question is on screen, and takes keys."""
    asked = isinstance(app.screen, (TrustScreen, SecretScreen))
    return asked and " esc " in "\n".join(screen_text(app).splitlines()[-1:])


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_an_unknown_machine_is_shown_and_trusted_only_by_its_own_key(
    make_app: MakeApp, check_screen: CheckScreen, dialler: Dialler, size: str
) -> None:
    app = make_app(launch_services(), asker=dialler.asker)
    async with app.run_test(size=SIZES[size]) as pilot:
        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        dialler.asks("key", "key")
        await settle(app, pilot, lambda: ready(app))
        check_screen(app, f"asked-key-{size}")
        await pilot.press("y", "space")
        assert isinstance(app.screen, TrustScreen) and dialler.answers == []
        await pilot.press("enter")  # the safe answer has the focus
        await settle(app, pilot, lambda: dialler.answers == [False])
        await settle(app, pilot, lambda: ready(app))
        await pilot.press("t")
        await settle(app, pilot, lambda: dialler.answers == [False, True])
        dialler.asks("secret")  # what is asked next comes up by itself, too
        await settle(app, pilot, lambda: ready(app))
        await pilot.press("escape")
        await settle(app, pilot, lambda: dialler.answers == [False, True, None])
        assert app.screen is app.screen_stack[0]


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_a_password_is_typed_unseen(
    make_app: MakeApp, check_screen: CheckScreen, dialler: Dialler, size: str
) -> None:
    app = make_app(launch_services(), asker=dialler.asker)
    async with app.run_test(size=SIZES[size]) as pilot:
        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        dialler.asks("secret", "secret")
        await settle(app, pilot, lambda: ready(app))
        await pilot.press("enter")  # nothing is no password
        assert isinstance(app.screen, SecretScreen)
        await pilot.press("x", "ctrl+u", *SECRET.replace(" ", "\0"), "q", "backspace")
        check_screen(app, f"asked-password-{size}")
        assert SECRET not in screen_text(app) and SECRET not in repr(vars(app.screen)["_prompt"])
        await pilot.press("enter")
        await settle(app, pilot, lambda: len(dialler.answers) == 1)
        await settle(app, pilot, lambda: ready(app))
        await pilot.press("a", "escape")
        await settle(app, pilot, lambda: dialler.answers[1:] == [None])


async def test_what_is_only_to_be_done_is_said_and_asks_nothing(
    make_app: MakeApp, dialler: Dialler
) -> None:
    app = make_app(launch_services(), asker=dialler.asker)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        await asyncio.to_thread(dialler.asker.notice, "gpu1", "touch your\x1b[31m key")
        await settle(app, pilot, lambda: "gpu1: touch your" in screen_text(app))
        assert dialler.asker.waiting == 0 and app.screen is app.screen_stack[0]


async def test_keys_that_were_meant_for_something_else_answer_nothing(
    make_app: MakeApp, dialler: Dialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "UNSEEN", 2.0)  # the machine may be busy when the burst comes
    app = make_app(launch_services(), asker=dialler.asker)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        dialler.asks("key")
        await settle(app, pilot, lambda: isinstance(app.screen, TrustScreen))
        burst(app, "t", "enter", "escape", "t", "t")
        await settle(app, pilot, lambda: ready(app))
        assert dialler.answers == []
        await pilot.press("escape")
        await settle(app, pilot, lambda: dialler.answers == [False])


async def test_a_question_waits_while_something_is_typed_and_a_key_opens_it(
    make_app: MakeApp, dialler: Dialler
) -> None:
    app = make_app(launch_services(), asker=dialler.asker)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        await pilot.press("slash", "f", "o")
        dialler.asks("key")
        await settle(app, pilot, lambda: "gpu1 asks something" in screen_text(app))
        await pilot.press("x", "t")
        assert not isinstance(app.screen, TrustScreen) and "foxt" in screen_text(app)
        await pilot.press("ctrl+y")
        await settle(app, pilot, lambda: ready(app))
        await pilot.press("t")
        await settle(app, pilot, lambda: dialler.answers == [True])
        assert "asks something" not in screen_text(app)


async def test_a_question_does_not_open_over_another(make_app: MakeApp, dialler: Dialler) -> None:
    app = make_app(launch_services(), asker=dialler.asker)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        await pilot.press("question_mark")
        top = app.screen
        dialler.asks("key")
        await settle(app, pilot, lambda: "gpu1 asks something" in screen_text(app))
        assert app.screen is top and dialler.answers == []
        await pilot.press("escape")
        await settle(app, pilot, lambda: ready(app))


async def test_who_asks_while_the_program_ends_is_told_no(
    make_app: MakeApp, dialler: Dialler
) -> None:
    app = make_app(launch_services(), asker=dialler.asker)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        dialler.asks("key", "secret", "key")
        await settle(app, pilot, lambda: ready(app))
    for thread in dialler.threads:
        thread.join(10)
    assert dialler.answers == [False, None, False]


async def test_a_key_connects_to_the_places_that_do_not_answer(make_app: MakeApp) -> None:
    services = far_services()
    app = make_app(services)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await settle(app, pilot, lambda: "C connects" in screen_text(app))
        await pilot.press("C")
        await settle(app, pilot, lambda: ("probe", ("gpu3", True)) in services.calls)
        assert ("probe", ("gpu2", True)) in services.calls
        assert ("probe", ("local", True)) not in services.calls


async def test_a_plan_that_waits_for_a_person_says_the_key_and_is_made_once_they_have_connected(
    make_app: MakeApp,
) -> None:
    class Waits(FakeLaunchServices):
        reached = False

        async def check(self, draft: Draft) -> Drafted:
            if not self.reached:
                raise Unreachable("gpu1 is not known yet.")
            return await super().check(draft)

        async def probe(self, backend: str, *, asked: bool = False) -> Health:
            self.reached = asked
            self._places = (Place(name="local", seen_at=NOW),)
            return await super().probe(backend, asked=asked)

    services = Waits(now=NOW, places=(Place(name="local", reach=Reach.DOWN, person=True),))
    app = make_app(services)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        app.open_launch(None)
        await settle(app, pilot, lambda: isinstance(app.screen, LaunchScreen))
        await pilot.press(*"true")
        await settle(app, pilot, lambda: "ctrl+y connects" in screen_text(app))
        await pilot.press("ctrl+y")
        await settle(app, pilot, lambda: "up to date" in screen_text(app))
        assert "not known yet" not in screen_text(app)
