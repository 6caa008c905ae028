"""Launch: a form of four questions on the left, the plan of what it says on the right.

Every key changes the draft; a moment after the last one the draft is checked elsewhere, and the
answer painted when it comes. What is launched is the very plan that stands on screen; asked for
before there is one, it is launched as soon as it does, and no later form with it. Whatever goes
wrong, what was typed stays.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import Line, Span
from traindeck.console.present.dialogs import Choice
from traindeck.console.present.help import typing_notes
from traindeck.console.present.launch_fields import (
    COMMAND,
    PLACE,
    START,
    VALUE,
    Entry,
    Place,
    Section,
    flat,
    placed,
    sections,
    written,
)
from traindeck.console.present.launch_view import (
    PlanState,
    obstacle,
    problem_labels,
    warned,
)
from traindeck.console.runs.drafting import Draft, Drafted, Ground
from traindeck.console.tui import keys
from traindeck.console.tui.typed import put, typed

from .base import DeckScreen
from .launch_panes import FormPane, PlanPane
from .launch_paths import Completing
from .launch_send import Sending
from .overlay import ChoiceScreen, MenuScreen

if TYPE_CHECKING:
    from traindeck.console.store.records import RunRecord
    from traindeck.console.tui.services import Place as KnownPlace

SETTLE = 0.03
"""Seconds without a key after which the draft is checked."""

LOOKS_EVERY = 1.0
"""Seconds between two looks at which places answer, as the header knows it."""

WIDE = 100
"""From this many columns on the plan stands beside the form."""

FORM_SHARE = 0.48

_NUMBER = re.compile(r"-?\d[\d_]*(?:\.\d+)?(?:e-?\d+)?", re.I)


def _at(entry: Entry) -> int:
    """The place of the choice that was made among all."""
    return entry.choices.index(entry.text) if entry.text in entry.choices else 0


def _blank(draft: Draft) -> bool:
    """Whether it does not say yet what is to run. That is no mistake."""
    return not draft.recipe and not draft.text("command").strip()


class LaunchScreen(DeckScreen):
    """The form.

    Args:
        like: A run to start from.
    """

    scope = "launch"
    title_words = "Launch"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.LAUNCH)]
    CSS = """
    LaunchScreen #both { height: 1fr; }
    """

    def __init__(self, like: RunRecord | None = None) -> None:
        super().__init__()
        self.like = like
        self.draft = Draft()
        self.ground = Ground()
        self.drafted: Drafted | None = None
        self.plan_state = PlanState(waiting=True)
        self.launch_places: Sequence[Place] = (Place(name="local", kind="process"),)
        self.form: tuple[Section, ...] = ()
        self.focus_key = "command" if like is None else START
        self.place_line = 0
        """The line of the list of places that the cursor is on, while that has the focus."""
        self.caret: Caret | None = None
        self.ready = False
        self._begun = Draft()
        self._kept: dict[str, tuple[Mapping[str, str], str | None, str]] = {}
        self._changed = asyncio.Event()
        self.sending = Sending(self)
        self.completing = Completing(self)
        self._asked: tuple[Draft, asyncio.Task[Drafted]] | None = None
        self._early: list[events.Key | str] | None = None if like is None else []
        self._late: events.Key | None = None
        self._refused = ""
        self._form_pane, self._plan_pane = FormPane(), PlanPane()
        self._shape()
        self._focus(self.focus_key)

    def body(self) -> ComposeResult:
        with Horizontal(id="both"):
            yield self._form_pane
            yield self._plan_pane

    def on_mount(self) -> None:
        self._arrange()
        self.spawn(self._begin(), "")

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        cells, wide = self.app.size.width, self.plan_visible
        self._plan_pane.display = wide
        self._form_pane.styles.width = int(cells * FORM_SHARE) if wide else cells

    @property
    def plan_visible(self) -> bool:
        """Whether the plan stands beside the form."""
        return self.app.size.width >= WIDE

    # ----------------------------------------------------------------------------------- beginning

    async def _begin(self) -> None:
        services = self.deck.services
        try:
            self.ground = await services.ground()
            if self.like is not None:
                self.draft = self._begun = await services.like(self.like.id)
        except TraindeckError as error:
            self._refused = str(error)
            self._early = None  # they were meant for what is not there
            self.deck.complain(error)
        self.ready = True
        self._look_again()
        if self.like is not None:
            self._focus("command" if not self.draft.recipe else "name")
            await self._take_early()
        await self._look_at_places()
        self._look_again()
        self._changed.set()
        self.spawn(self._follow_places(), "")
        await self._keep_planning()

    async def _look_at_places(self) -> None:
        places = await self._known_places()
        self.launch_places = [
            Place(name=name, kind=kind, reach=places[name].reach, note=places[name].note)
            if name in places
            else Place(name=name, kind=kind)
            for name, kind in self.ground.backends.items()
        ]

    async def _follow_places(self) -> None:
        """A place may answer again, or no more, while somebody fills in the form."""
        while True:
            await asyncio.sleep(LOOKS_EVERY)
            before = self.launch_places
            await self._look_at_places()
            if self.launch_places == before:
                continue
            reaches = [
                {place.name: place.reach for place in places}
                for places in (before, self.launch_places)
            ]
            if reaches[0].get(self.draft.on) is not reaches[1].get(self.draft.on):
                self._asked = None
                self._changed.set()  # the plan may be another one now
            self._look_again()

    def connected(self) -> None:
        """See `DeckScreen.connected`: the plan may be another one now."""
        self.spawn(self._after_connecting(), "")

    async def _after_connecting(self) -> None:
        await self._look_at_places()
        self._asked = None
        self._changed.set()
        self._look_again()

    async def _known_places(self) -> dict[str, KnownPlace]:
        """Backends as the header knows them. They can be chosen without it, too."""
        try:
            return {place.name: place for place in await self.deck.services.places()}
        except TraindeckError as error:
            self.deck.complain(error)
            return {}

    async def _keep_planning(self) -> None:
        """Check the draft whenever it has come to rest."""
        while True:
            await self._changed.wait()
            while self._changed.is_set():
                self._changed.clear()
                await asyncio.sleep(SETTLE)
            draft = self.draft
            try:
                drafted = await self.check(draft)
            except TraindeckError as error:
                if draft == self.draft:
                    place = (await self._known_places()).get(draft.on)
                    waits = place is not None and place.person
                    more = f" {self.deck.connect_key} connects." if waits else ""
                    self._answered_badly(f"{error}{more}")
                continue
            if draft == self.draft or drafted.form is not None:
                self.answered(draft, drafted)

    async def check(self, draft: Draft) -> Drafted:
        """What a draft comes to. Who asks while that is being found out gets the same answer: one
        form has one plan, with one made name."""
        if self._asked is None or self._asked[0] != draft or self._asked[1].done():
            task = asyncio.create_task(self.deck.services.check(draft))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._asked = (draft, task)
        return await asyncio.shield(self._asked[1])

    def answered(self, draft: Draft, drafted: Drafted) -> None:
        if draft.recipe != self.draft.recipe:
            return
        current = draft == self.draft
        self.drafted = drafted
        if drafted.plan is not None and not draft.text("name") and not draft.made_name:
            # It keeps this name while the rest changes; that alone is no other draft.
            self.draft = replace(self.draft, made_name=drafted.name)
        self._shape()
        self.plan_state = self.state_of(draft, drafted, current=current)
        self._paint()

    def state_of(self, draft: Draft, drafted: Drafted, *, current: bool) -> PlanState:
        blank = _blank(draft)
        problems = dict(drafted.problems)
        if blank:
            problems.pop("command", None)
        return PlanState(
            plan=drafted.plan or self.plan_state.plan,
            array=drafted.array if drafted.plan is not None else self.plan_state.array,
            current=current and drafted.plan is not None,
            waiting=not current,
            problems=problem_labels(self.form, list(problems.items())),
            notes=drafted.notes,
            refused=self._refused,
            blank=blank and not problems,
        )

    def _answered_badly(self, why: str) -> None:
        self.drafted = None if self.drafted is None else replace(self.drafted, plan=None, array=())
        self.plan_state = replace(self.plan_state, refused=why, waiting=False, current=False)
        self._paint()

    # ------------------------------------------------------------------------------------ the form

    @property
    def entry(self) -> Entry | None:
        """The focused field."""
        found = placed(self.form, self.focus_key)
        return found[1] if found else None

    @property
    def touched(self) -> bool:
        """Whether a person has changed anything."""
        return replace(self.draft, made_name="") != replace(self._begun, made_name="")

    def _shape(self) -> None:
        drafted = self.drafted
        if drafted is not None and _blank(self.draft):
            wrong = {key: text for key, text in drafted.problems.items() if key != "command"}
            drafted = replace(drafted, problems=wrong)
        self.form = sections(self.draft, self.ground, drafted, self._begun)

    def _focus(self, key: str) -> None:
        entry = next((entry for entry in flat(self.form) if entry.key == key), None)
        if entry is None:
            entry = flat(self.form)[0]
        self.focus_key = entry.key
        if entry.key == PLACE:
            self.place_line = _at(entry)
        self.caret = None if entry.choices or entry.key == PLACE else self._line_of(entry)

    def go_to(self, key: str) -> None:
        """Focus a field."""
        self._focus(key)
        self._paint()

    def _line_of(self, entry: Entry) -> Caret:
        """The line of a field. A number is selected whole: behind an 8 a 4 would make 84."""
        return Caret(entry.text, len(entry.text), mark=0 if _NUMBER.fullmatch(entry.text) else None)

    def _paint(self) -> None:
        if not self.is_mounted:
            return
        if self.plan_visible and self.plan_state.current and self.plan_state.plan is not None:
            self.sending.seen(self.plan_state)
        self._form_pane.update()
        self._plan_pane.update()
        self.update_chrome()
        for screen in self.app.screen_stack:
            refresh = getattr(screen, "plan_changed", None)
            if refresh is not None:
                refresh()

    def _look_again(self) -> None:
        self._shape()
        self._paint()

    def _set(self, draft: Draft) -> None:
        """Another draft: shown at once, checked soon."""
        if draft == self.draft:
            return
        self.draft = draft
        self._refused = ""
        self.plan_state = replace(
            self.plan_state, waiting=True, current=False, refused="", blank=_blank(draft)
        )
        self._shape()
        self._changed.set()
        self._paint()

    def _write(self, entry: Entry, text: str) -> None:
        """Put a text into a field."""
        if entry.key == START:
            self._start_with("" if text == COMMAND else text)
        else:
            self._set(written(self.draft, entry, text))

    def _start_with(self, recipe: str) -> None:
        """Launch something else; what was set for the one before waits until it is chosen again."""
        draft = self.draft
        self._kept[draft.recipe] = (draft.values, draft.preset, draft.like)
        values, preset, like = self._kept.get(recipe, ({}, None, ""))
        self.drafted = None
        self._set(replace(draft, recipe=recipe, values=values, preset=preset, like=like))

    # --------------------------------------------------------------------------------------- typing

    @property
    def typing(self) -> bool:
        return self.caret is not None

    def take_key(self, event: events.Key) -> bool:
        """Keys that edit the focused line; the others are bound. Called in the order of typing."""
        if self._early is not None and event is not self._late:
            if event.key not in ("escape", "ctrl+c"):
                self._early.append(event)
                return True
            if self._early:
                self.deck.notice("nothing was launched: the form was not filled yet", "warn")
            return False
        entry = self.entry
        if self.caret is None or entry is None:
            return False
        after = typed(self.caret, event.key, event.character)
        if after is None:
            return False
        self._type(entry, after)
        return True

    async def _take_early(self) -> None:
        """Do what was typed before the form was filled from its run, now that it is."""
        while self._early:
            first = self._early.pop(0)
            if isinstance(first, str):
                self._paste(first)
            else:
                self._late = first
                await self.deck.take_late(first)
        self._early = None

    def take_paste(self, text: str) -> None:
        """Text that was pasted. Called in the order of typing."""
        if self._early is None:
            self._paste(text)
        else:
            self._early.append(text)

    def _paste(self, text: str) -> None:
        entry = self.entry
        if self.caret is not None and entry is not None:
            self._type(entry, put(self.caret, text))

    def _type(self, entry: Entry, after: Caret) -> None:
        before, self.caret = self.caret, after
        if before is None or after.text != before.text:
            self._write(entry, after.text)
        self.completing.look()
        self._form_pane.update()

    def offer(self, caret: Caret) -> None:
        """Show what would complete the line."""
        self.caret = caret
        self._form_pane.update()
        self.footer_bar.update()

    # -------------------------------------------------------------------------------------- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "change":
            entry = self.entry  # a choice of one is none
            return self.caret is None and entry is not None and len(entry.choices) > 1
        if action == "default":
            return self._chosen_here() or None
        if action == "preset":
            return bool(self._presets())
        if action == "save":
            return bool(self.draft.recipe)
        return True

    def _chosen_here(self) -> bool:
        """Whether the field is a choice that a person has made: it can be taken back."""
        entry = self.entry
        if entry is None or self.caret is not None or entry.key in (START, PLACE):
            return False
        chosen = {*self.draft.fields, *(f"{VALUE}{key}" for key in self.draft.values)}
        return entry.key in chosen

    def action_field(self, step: int) -> None:
        order = [entry.key for entry in flat(self.form)]
        at = order.index(self.focus_key) if self.focus_key in order else 0
        self._focus(order[(at + step) % len(order)])
        self._paint()

    def action_line(self, step: int) -> None:
        """Down or up: a list of places is gone through by the line, without choosing one; behind
        its last line comes the next field."""
        entry = self.entry
        if entry is not None and entry.key == PLACE:
            line = self.place_line + step
            if 0 <= line < len(entry.choices):
                self.place_line = line
                self._paint()
                return
        self.action_field(step)
        entry = self.entry
        if entry is not None and entry.key == PLACE:  # it is entered at its near end
            self.place_line = 0 if step > 0 else len(entry.choices) - 1
            self._paint()

    def action_take(self) -> None:
        """Enter: the place one is on, and the next field."""
        if self._on_another_place:
            self.action_change(1)
        self.action_field(1)

    @property
    def _on_another_place(self) -> bool:
        """Whether the cursor is on a place that is not the chosen one."""
        entry = self.entry
        return entry is not None and entry.key == PLACE and self.place_line != _at(entry)

    def action_section(self, step: int) -> None:
        found = placed(self.form, self.focus_key)
        filled = [section for section in self.form if section.entries]
        at = filled.index(found[0]) if found and found[0] in filled else 0
        self._focus(filled[(at + step) % len(filled)].entries[0].key)
        self._paint()

    def action_change(self, step: int) -> None:
        entry = self.entry
        if entry is None or not entry.choices:
            return
        another = self._on_another_place
        at = self.place_line if another else (_at(entry) + step) % len(entry.choices)
        if entry.key == PLACE:
            self.place_line = at
        self._write(entry, entry.choices[at])

    def action_default(self) -> None:
        entry = self.entry
        if entry is None or not self._chosen_here():
            return
        if entry.key.startswith(VALUE):
            self._write(entry, "")
        else:
            fields = {k: v for k, v in self.draft.fields.items() if k != entry.key}
            self._set(replace(self.draft, fields=fields))

    def _presets(self) -> Mapping[str, str]:
        recipe = self.drafted.recipe if self.drafted is not None and self.draft.recipe else None
        if recipe is None or self.draft.like:
            return {}  # a run's values go before any preset
        return {name: preset.meaning for name, preset in recipe.presets.items()}

    def action_preset(self) -> None:
        drafted = self.drafted
        if drafted is None or drafted.recipe is None:
            return
        letters = "abcdefghijklmnop"
        items = [
            (letter, f"{name}  {meaning}", name)
            for letter, (name, meaning) in zip(letters, self._presets().items(), strict=False)
        ]
        chosen = self.draft.preset or drafted.recipe.preset
        if drafted.recipe.preset is None:
            items.insert(0, ("0", "none", "0"))
            chosen = chosen or "0"

        def taken(name: str | None) -> None:
            if name is not None:
                self._set(replace(self.draft, preset=None if name == "0" else name))
                self._focus(self.focus_key)

        menu = MenuScreen("Preset", items, chosen)
        self.app.push_screen(menu, taken)

    def action_plan(self) -> None:
        from .launch_plan import PlanScreen

        self.app.push_screen(PlanScreen(self))

    def action_save(self) -> None:
        from .launch_save import SaveScreen

        self.app.push_screen(SaveScreen(self.draft))

    def action_launch(self) -> None:
        self.sending.launch()

    def refuse(self, why: str) -> None:
        """A launch failed. Not the same plan again: it may have arrived."""
        self._refused = why
        self.plan_state = replace(self.plan_state, refused=why, waiting=True, current=False)
        self._changed.set()
        self._paint()

    def action_back(self) -> None:
        self._ask_to_leave()

    def _ask_to_leave(self) -> None:
        if self.sending.take_back():
            return
        if not self.touched or self.sending.busy:
            self.deck.back()
            return

        def answered(result: str | None) -> None:
            if result == "leave":
                self.deck.back()

        body: list[Line] = [
            (Span("Leave the form?", "warn bold"),),
            (),
            (Span("Nothing was started. What was changed here is lost.", "muted"),),
        ]
        options = [Choice("esc", "stay", ""), Choice("l", "leave", "leave", harmful=True)]
        self.app.push_screen(ChoiceScreen(lambda cells, rows: body, options), answered)

    def action_leave(self) -> None:
        """`q` where nothing is typed."""
        self._ask_to_leave()

    # ---------------------------------------------------------------------------------- the chrome

    def reading_notes(self) -> Sequence[Line]:
        """For the help: the keys of a field."""
        return typing_notes(self.deck.painter.glyphs, paths=True)

    def crumbs(self) -> Sequence[str]:
        what = self.draft.recipe or "command"
        return ("Launch", f"{what} like {self.like.name}" if self.like is not None else what)

    def counts(self) -> Sequence[Line]:
        entries = flat(self.form)
        changed = sum(entry.changed for entry in entries)
        return [
            (Span("changed ", "muted"), Span(str(changed), "accent"),
             Span(f" of {len(entries)}", "muted")),
        ]  # fmt: skip

    def context(self) -> Line:
        found = placed(self.form, self.focus_key)
        if found is None:
            return ()
        crumb = self.deck.painter.glyphs.crumb
        words = f"{found[0].title} {crumb} {found[1].label}"
        if not self.plan_visible:
            state, glyphs = self.plan_state, self.deck.painter.glyphs
            warning = warned(state, glyphs) if state.current else ""
            if (why := obstacle(state)) and not state.waiting:
                words = why
            elif warning:
                return (Span(f"plan {warning}", "warn"),)
            else:
                words = f"plan {glyphs.done if state.current else glyphs.ellipsis}"
        return (Span(words, "muted"),)

    def label_of(self, action: keys.Action) -> str:
        if action.id == "launch.change" and self._on_another_place:
            return "choose"
        if action.id == "launch.launch" and self.sending.shows_first():
            return "plan, then launch"
        return super().label_of(action)

    def footer_keys(self) -> list[tuple[str, str]]:
        shown = super().footer_keys()
        if not self.plan_visible:
            # There is room for few: the plan is one key away, the rest stands in the help.
            shown = [(key, label) for key, label in shown if label not in ("preset", "save")]
        return [*self.completing.keys(), *shown, ("esc", "back")]
