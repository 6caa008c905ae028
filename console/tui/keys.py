"""Every key of every screen, once: what it does, how it is called in the footer and in the help.

Bindings, footer, help and palette are all made from these tables, so they cannot disagree. A person
may give an action other keys in settings.yaml (`keys: {runs.stop: x}`). Lower case looks, capitals
act wider or cost more; nothing needs alt, F-keys, ctrl+enter or what a multiplexer takes. The one
F-key stands beside `?`, for where that is text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from traindeck.backends.data import dataclass

if TYPE_CHECKING:
    from textual.binding import Binding

    from traindeck.console.settings import Settings

THIS = "THIS RUN"
LIST = "THE LIST"
GO = "GO"


@dataclass(frozen=True, slots=True)
class Action:
    """Something a key does.

    Attributes:
        id: `SCOPE.NAME`, as in settings.yaml.
        keys: One key or several, separated by commas, in Textual's names.
        action: Textual's action on the screen or app that has the scope.
        label: One word for the footer.
        help: A few words for the help and the palette; `…` at the end if it will ask.
        section: Under which head it stands in the help; "" leaves it out.
        rank: Place in the footer, most used first; 0 is not shown there.
        shown: How the key is written if not as itself (`g g`).
        also: Other words for it, by which the palette finds it too.
    """

    id: str
    keys: str
    action: str
    label: str
    help: str
    section: str = GO
    rank: int = 0
    shown: str = ""
    also: str = ""


APP = (
    Action("app.palette", "colon,ctrl+p", "palette", "go", "any screen, run, action", GO, 80),
    Action("app.help", "question_mark,f1", "keys", "keys", "these keys", "", 90,
           also="help manual"),
    Action("app.connect", "C,ctrl+y", "connect", "connect", "connect, or answer", GO, shown="C",
           also="password ssh reconnect retry trust backends"),
    Action("app.back", "escape", "back", "back", "back, never quits", GO),
    Action("app.quit", "q", "leave", "quit", "back, or quit", GO, also="exit"),
    Action("app.quit_now", "ctrl+c", "interrupt", "quit", "twice: quit now", GO,
           shown="ctrl+c"),
    Action("app.redraw", "ctrl+l", "redraw", "redraw", "draw everything again", GO),
    Action("app.suspend", "ctrl+z", "suspend_process", "suspend", "to the shell", GO),
)  # fmt: skip

MOVES = (
    Action("list.down", "j,down", "move(1)", "down", "row", GO, shown="j k ↓ ↑"),
    Action("list.up", "k,up", "move(-1)", "up", "row", ""),
    Action("list.first", "home", "first", "first", "first · last", GO, shown="g g · G"),
    Action("list.g", "g", "prefix_g", "first", "first", ""),
    Action("list.last", "G,end", "last", "last", "last", ""),
    Action("list.page_down", "pagedown", "page(1)", "page", "page", ""),
    Action("list.page_up", "pageup", "page(-1)", "page", "page", ""),
    Action("list.half_down", "ctrl+d", "half(1)", "half page", "half a page", GO,
           shown="ctrl+d u"),
    Action("list.half_up", "ctrl+u", "half(-1)", "half page", "half a page", ""),
)  # fmt: skip

RUNS = (
    Action("runs.open", "enter", "open", "open", "open", THIS, 10),
    Action("runs.overview", "1", "open_tab('overview')", "overview", "overview", ""),
    Action("runs.charts", "2", "open_tab('charts')", "charts", "charts", THIS,
           also="plots curves metrics graphs"),
    Action("runs.log", "l,3", "open_tab('log')", "log", "log, following", THIS, 20, shown="l",
           also="logs tail output"),
    Action("runs.files", "6", "open_tab('files')", "files", "files", "",
           also="artifacts checkpoints"),
    Action("runs.config", "7", "open_tab('config')", "config", "config", "",
           also="parameters environment"),
    Action("runs.stop", "s", "stop", "stop", "stop…", THIS, 40, also="kill cancel terminate"),
    Action("runs.retry", "R", "retry", "retry", "retry…", THIS, 45, also="rerun restart"),
    Action("runs.again", "N", "launch_again", "again", "launch with changes", THIS,
           also="clone duplicate relaunch"),
    Action("runs.seen", "x", "seen", "seen", "seen, needs me no more", THIS, 46),
    Action("runs.edit", "e", "edit", "edit", "edit name, tags, note", THIS,
           also="rename annotate"),
    Action("runs.copy", "y", "copy", "copy", "copy…", THIS),
    Action("runs.shell", "S", "shell", "shell", "shell where it is", THIS, also="terminal ssh"),
    Action("runs.forward", "P", "forward", "forward", "forward a port…", THIS,
           also="tensorboard jupyter tunnel"),
    Action("runs.remove", "delete", "remove", "remove", "remove…", THIS, also="delete rm"),
    Action("runs.demo", "d", "demo", "demo", "demo: small trainings", LIST, 5),
    Action("runs.new", "n", "launch", "new", "new run", LIST, 50, also="start create"),
    Action("runs.filter", "slash", "filter", "filter", "filter, say tag:sft", LIST, 60,
           also="search find"),
    Action("runs.mark", "space", "mark", "mark", "mark · again unmarks", LIST),
    Action("runs.range", "v", "mark_range", "range", "mark a range", LIST),
    Action("runs.mark_all", "asterisk", "mark_all", "all", "mark all shown", LIST),
    Action("runs.order", "o", "order", "order", "order by…", LIST, also="sort"),
    Action("runs.group", "O", "group", "group", "group by…", LIST),
    Action("runs.columns", "vertical_line", "columns", "columns", "columns…", LIST),
    Action("runs.fold", "z", "fold", "fold", "fold the group", LIST, also="collapse"),
    Action("runs.window", "a", "window", "all", "all runs · last days", LIST),
    Action("runs.freeze", "f", "freeze", "freeze", "freeze the screen", LIST, also="pause"),
    Action("runs.fleet", "F", "fleet", "fleet", "fleet: all GPUs", GO, also="devices top"),
)  # fmt: skip

FLEET = (
    Action("fleet.open", "enter", "open", "open run", "open its run · unfold", LIST, 10),
    Action("fleet.group", "u", "group", "by user", "by user · by host", LIST, 20),
    Action("fleet.copy", "y", "copy", "copy pid", "copy the pid", LIST, 30),
    Action("fleet.idle", "i", "idle", "idle only", "idle and free only · all", LIST, 40),
    Action("fleet.filter", "slash", "filter", "filter", "filter, say free h100", LIST, 50,
           also="search find"),
    Action("fleet.fold", "z", "fold", "fold", "fold the host or user", LIST, also="collapse"),
)  # fmt: skip

CHART = "THE CHARTS"
CHARTS = (
    Action("charts.left", "left", "cursor(-1)", "cursor", "cursor", CHART, 10, shown="← →"),
    Action("charts.right", "right", "cursor(1)", "cursor", "cursor", ""),
    Action("charts.in", "plus,equals_sign", "zoom(0.5)", "zoom", "zoom in · out", CHART, 20,
           shown="+ -"),
    Action("charts.out", "minus", "zoom(2.0)", "zoom out", "zoom out", ""),
    Action("charts.pan_left", "less_than_sign", "pan(-0.5)", "pan", "pan", CHART, shown="< >"),
    Action("charts.pan_right", "greater_than_sign", "pan(0.5)", "pan", "pan", ""),
    Action("charts.all", "0", "whole", "all", "the whole run", CHART),
    Action("charts.log", "L", "log_scale", "log y", "logarithmic y", CHART, 30),
    Action("charts.smooth", "e", "smooth", "smooth", "smoothing", CHART, 40),
    Action("charts.axis", "x", "axis", "axis", "x is step · time · epoch", CHART, 50),
    Action("charts.system", "d", "system", "system", "system metrics below", CHART, 60),
    Action("charts.marks", "a", "marks", "marks", "checkpoints and alerts", CHART),
    Action("charts.follow", "f", "follow", "follow", "follow the newest", CHART),
    Action("charts.tree", "m", "tree", "metrics", "the tree (narrow)", LIST, 15),
    Action("charts.down", "j,down", "row(1)", "row", "row", LIST, shown="j k ↓ ↑"),
    Action("charts.up", "k,up", "row(-1)", "row", "row", ""),
    Action("charts.page_down", "pagedown,ctrl+d", "row(10)", "page", "page", LIST,
           shown="pgdn pgup"),
    Action("charts.page_up", "pageup,ctrl+u", "row(-10)", "page", "page", ""),
    Action("charts.first", "g,home", "row(-1000000)", "first", "first · last", LIST,
           shown="g · G"),
    Action("charts.last", "G,end", "row(1000000)", "last", "last", ""),
    Action("charts.toggle", "space,enter", "draw", "draw", "draw it · or not", LIST, 35,
           shown="space"),
    Action("charts.only", "o", "only", "only", "draw it alone", LIST),
    Action("charts.fold", "z", "fold", "fold", "fold the group", LIST),
)  # fmt: skip

TABS = "TABS"
RUN = (
    Action(
        "run.overview",
        "1",
        "tab('overview')",
        "overview",
        "overview … config",
        TABS,
        shown="1 2 3 6 7",
    ),
    Action("run.charts", "2", "tab('charts')", "charts", "charts", "", 20,
           also="plots curves metrics graphs"),
    Action("run.log", "3,l", "tab('log')", "log", "log", "", 22, also="logs tail output"),
    Action("run.files", "6", "tab('files')", "files", "files", "", also="artifacts checkpoints"),
    Action("run.config", "7", "tab('config')", "config", "config", "",
           also="parameters environment"),
    Action("run.stop", "s", "stop", "stop", "stop…", THIS, 70, also="kill cancel terminate"),
    Action("run.retry", "R", "retry", "retry", "retry…", THIS, 71, also="rerun restart"),
    Action("run.edit", "ctrl+e", "edit", "edit", "edit name, tags, note", THIS,
           also="rename annotate"),
    Action("run.copy", "y", "copy", "copy", "copy…", THIS),
    Action("run.again", "N", "launch_again", "again", "launch with changes", THIS,
           also="clone duplicate relaunch"),
    Action("run.shell", "S", "shell", "shell", "shell where it is", THIS, also="terminal ssh"),
    Action("run.forward", "P", "forward", "forward", "forward a port…", THIS,
           also="tensorboard jupyter tunnel"),
    Action("run.remove", "delete", "remove", "remove", "remove…", THIS, also="delete rm"),
)  # fmt: skip

LOG_SECTION = "THE LOG"
LOG = (
    Action("log.down", "j,down", "rows(1)", "row", "row", LOG_SECTION, shown="j k ↓ ↑"),
    Action("log.up", "k,up", "rows(-1)", "row", "row", ""),
    Action("log.page_down", "pagedown,space", "pages(1)", "page", "page", LOG_SECTION,
           shown="space b · pgdn pgup"),
    Action("log.page_up", "pageup,b", "pages(-1)", "page", "page", ""),
    Action("log.half_down", "ctrl+d", "pages(0.5)", "half page", "half a page", LOG_SECTION,
           shown="ctrl+d ctrl+u"),
    Action("log.half_up", "ctrl+u", "pages(-0.5)", "half page", "half a page", ""),
    Action("log.first", "home", "first", "first", "first · last", LOG_SECTION, shown="g g · G"),
    Action("log.g", "g", "prefix_g", "first", "first", ""),
    Action("log.last", "G,end", "last", "last", "last", ""),
    Action("log.find", "slash", "ask('find')", "search", "search", LOG_SECTION, 10),
    Action("log.next", "n", "hit(False)", "next", "next · previous hit", LOG_SECTION, 12,
           shown="n N"),
    Action("log.previous", "N", "hit(True)", "previous", "previous hit", ""),
    Action("log.error", "E", "error", "first error", "first error", LOG_SECTION, 14),
    Action("log.filter", "ampersand", "ask('filter')", "filter", "only lines …", LOG_SECTION, 30),
    Action("log.peek", "enter", "peek", "in place", "a filtered line in its place",
           LOG_SECTION, 8),
    Action("log.percent", "percent_sign", "ask('percent')", "percent", "to a percent", LOG_SECTION),
    Action("log.time", "t", "ask('time')", "time", "to a time", LOG_SECTION, 40),
    Action("log.line", "L", "ask('line')", "line", "to a line", LOG_SECTION),
    Action("log.follow", "f", "follow", "follow", "follow the end", LOG_SECTION, 50),
    Action("log.wrap", "w", "wrap", "wrap", "wrap long lines", LOG_SECTION, 60),
    Action("log.left", "left", "side(-8)", "left", "to the side", LOG_SECTION, shown="← →"),
    Action("log.right", "right", "side(8)", "right", "to the side", ""),
    Action("log.fold", "z", "fold", "fold", "fold · unfold frames", LOG_SECTION, 35),
    Action("log.try", "T", "try", "try…", "start again as it says…", LOG_SECTION, 15),
    Action("log.rank", "r,right_square_bracket", "rank(1)", "rank", "next · previous rank",
           LOG_SECTION, 32, shown="r · ] ["),
    Action("log.rank_back", "left_square_bracket", "rank(-1)", "rank", "previous rank", ""),
    Action("log.attempt", "a", "attempt", "attempt", "another attempt", LOG_SECTION, 65),
)  # fmt: skip

FILES = (
    Action("files.down", "j,down", "rows(1)", "row", "row", LIST, shown="j k ↓ ↑"),
    Action("files.up", "k,up", "rows(-1)", "row", "row", ""),
    Action("files.page_down", "pagedown,ctrl+d", "pages(1)", "page", "page", LIST,
           shown="pgdn pgup"),
    Action("files.page_up", "pageup,ctrl+u", "pages(-1)", "page", "page", ""),
    Action("files.first", "home", "rows(-1000000)", "first", "first · last", LIST,
           shown="g g · G"),
    Action("files.g", "g", "prefix_g", "first", "first", ""),
    Action("files.last", "end,G", "rows(1000000)", "last", "last", ""),
    Action("files.open", "enter", "open", "open", "look into it · fold", LIST, 10),
    Action("files.pull", "p", "pull", "pull", "bring it here…", LIST, 15,
           also="download copy fetch"),
    Action("files.copy", "y", "copy_path", "copy path", "copy its path", LIST, 20),
)  # fmt: skip

CONFIG = (
    Action("config.down", "j,down", "rows(1)", "row", "row", LIST, shown="j k ↓ ↑"),
    Action("config.up", "k,up", "rows(-1)", "row", "row", ""),
    Action("config.page_down", "pagedown", "pages(1)", "page", "page", LIST, shown="pgdn pgup"),
    Action("config.page_up", "pageup", "pages(-1)", "page", "page", ""),
    Action("config.half_down", "ctrl+d", "pages(0.5)", "half page", "half a page", LIST,
           shown="ctrl+d ctrl+u"),
    Action("config.half_up", "ctrl+u", "pages(-0.5)", "half page", "half a page", ""),
    Action("config.first", "home", "rows(-1000000)", "first", "first · last", LIST,
           shown="g g · G"),
    Action("config.g", "g", "prefix_g", "first", "first", ""),
    Action("config.last", "end,G", "rows(1000000)", "last", "last", ""),
    Action("config.find", "slash", "find", "search", "search", LIST, 10),
    Action("config.next", "n", "hit(1)", "next", "next · previous hit", LIST, 12, shown="n N"),
    Action("config.previous", "N", "hit(-1)", "previous", "previous hit", ""),
)  # fmt: skip

FORM = "THE FORM"
LAUNCH = (
    Action("launch.next", "tab", "field(1)", "next", "next field", FORM, 10, shown="tab ↓ ↑"),
    Action("launch.previous", "shift+tab", "field(-1)", "previous", "previous field", ""),
    Action("launch.down", "down", "line(1)", "next", "next place, or field", ""),
    Action("launch.up", "up", "line(-1)", "previous", "place or field before", ""),
    Action("launch.take", "enter", "take", "next", "this place; next field", ""),
    Action("launch.change", "space,right", "change(1)", "change", "the next choice", FORM, 20,
           shown="space ← →"),
    Action("launch.change_back", "left", "change(-1)", "change", "the one before", ""),
    Action("launch.default", "ctrl+u", "default", "default", "as by default", FORM),
    Action("launch.section", "pagedown", "section(1)", "question", "next question", FORM,
           shown="pgdn pgup"),
    Action("launch.section_back", "pageup", "section(-1)", "question", "question before", ""),
    Action("launch.preset", "ctrl+r", "preset", "preset", "the recipe's presets…", FORM, 30),
    Action("launch.plan", "ctrl+o,v", "plan", "plan", "the whole plan", FORM, 40,
           shown="v ctrl+o"),
    Action("launch.save", "ctrl+s", "save", "save", "save as a recipe…", FORM, 50),
    Action("launch.launch", "ctrl+g", "launch", "launch", "launch what is planned", FORM, 60),
)  # fmt: skip

SETTINGS = (
    Action("settings.down", "j,down,tab", "row(1)", "row", "row", LIST, shown="j k ↓ ↑"),
    Action("settings.up", "k,up,shift+tab", "row(-1)", "row", "row", ""),
    Action("settings.page_down", "pagedown", "row(10)", "page", "page", LIST, shown="pgdn pgup"),
    Action("settings.page_up", "pageup", "row(-10)", "page", "page", ""),
    Action("settings.first", "g,home", "row(-10000)", "first", "first · last", LIST, shown="g · G"),
    Action("settings.last", "G,end", "row(10000)", "last", "last", ""),
    Action("settings.edit", "enter", "edit", "change", "change it", LIST, 10),
    Action("settings.next", "space,right", "change(1)", "next", "the next choice", LIST, 20,
           shown="space ← →"),
    Action("settings.previous", "left", "change(-1)", "previous", "the one before", ""),
    Action("settings.unset", "u", "unset", "unset", "back to the default", LIST, 30),
    Action("settings.filter", "slash", "filter", "filter", "by name or words", LIST, 25,
           also="search find"),
    Action("settings.check", "c", "check", "check", "ask the backend how it is", LIST, 40),
    Action("settings.add", "a", "add", "add", "make a backend of it", LIST, 15),
)  # fmt: skip

SCOPES: dict[str, tuple[Action, ...]] = {
    "app": APP,
    "list": MOVES,
    "runs": RUNS,
    "fleet": FLEET,
    "charts": CHARTS,
    "run": RUN,
    "log": LOG,
    "files": FILES,
    "config": CONFIG,
    "launch": LAUNCH,
    "settings": SETTINGS,
}
"""Scope -> its actions. A new screen adds its table here."""


def all_actions() -> dict[str, Action]:
    """Action id -> action, over all scopes."""
    return {action.id: action for actions in SCOPES.values() for action in actions}


def bindings(actions: Iterable[Action]) -> list[Binding]:
    """Textual's bindings for a table of actions."""
    from textual.binding import Binding

    return [
        Binding(a.keys, a.action, a.label, show=False, id=a.id, priority=a.id == "app.quit_now")
        for a in actions
    ]


_SHOWN = {
    "escape": "esc", "question_mark": "?", "slash": "/", "colon": ":", "asterisk": "*",
    "vertical_line": "|", "space": "space", "plus": "+", "minus": "-", "hash": "#",
    "percent_sign": "%", "ampersand": "&", "full_stop": ".", "comma": ",", "down": "↓", "up": "↑",
    "left": "←", "right": "→", "pagedown": "pgdn", "pageup": "pgup", "equals_sign": "=",
    "dollar_sign": "$", "less_than_sign": "<", "greater_than_sign": ">",
    "left_square_bracket": "[", "right_square_bracket": "]", "tilde": "~",
}  # fmt: skip
_NAMES = {sign: name for name, sign in _SHOWN.items() if len(sign) == 1 and sign.isascii()}


def key_text(key: str) -> str:
    """How a key is written for people: `?`, `ctrl+d`, `esc`."""
    *modifiers, last = key.split("+")
    return "+".join([*modifiers, _SHOWN.get(last, last)])


def types(key: str) -> bool:
    """Whether a key is a character, where something can be typed."""
    return key == "space" or (len(key_text(key)) == 1 and key_text(key).isascii())


def in_words(text: str) -> str:
    """Keys for a terminal that has no arrows: `left right`, not signs that are other keys."""
    for sign, word in (("←", "left"), ("→", "right"), ("↑", "up"), ("↓", "down")):
        text = text.replace(sign, word)
    return text


def settings_text(names: str) -> str:
    """Keys as they are written in settings.yaml, from Textual's names: `j,down`, `?`, `ctrl+d`."""
    written = []
    for key in names.split(","):
        text = key_text(key)
        written.append(text if text.isascii() and len(text) == 1 and text != "," else key)
    return ",".join(written)


def shown_keys(action: Action, active: Iterable[str]) -> str:
    """The keys of an action as the help writes them, given the keys it is bound to now."""
    keys = list(active)
    if action.shown and set(keys) >= set(action.keys.split(",")):
        return action.shown
    return " ".join(dict.fromkeys(key_text(key) for key in keys))


# What a multiplexer or the terminal itself takes, and keys that are another key there.
_REFUSED = {
    "ctrl+b": "tmux takes it", "ctrl+a": "screen takes it", "ctrl+i": "it is tab",
    "ctrl+m": "it is enter", "ctrl+j": "it is a new line", "ctrl+h": "it is backspace",
    "ctrl+c": "it always quits", "escape": "it always goes back",
}  # fmt: skip
_NAMED = frozenset(_SHOWN) | {
    "enter", "tab", "delete", "insert", "home", "end", "backspace", "shift+tab",
    *(f"f{number}" for number in range(1, 13)),
}  # fmt: skip


def keymap(settings: Settings) -> dict[str, str]:
    """The user's own keys as Textual wants them.

    Raises:
        UsageError: An action or a key that does not exist, or two actions of one screen on one
            key; the message names the line in settings.yaml.
    """
    if not settings.keys:
        return {}
    known = all_actions()
    result: dict[str, str] = {}
    for name, text in settings.keys.items():
        where = f"keys.{name}"
        if name not in known:
            from traindeck.console.documents import nearest

            close = nearest(name, known)
            hint = f"Did you mean `{close}`?" if close else "Press ? in traindeck for their names."
            raise settings.error(where, f"there is no action `{name}`.", hint)
        keys = []
        for part in text.split(","):
            key = _parse_key(part.strip() or part)
            if key is None:
                hint = "Expected a letter, a sign, or a name like enter, space, ctrl+d."
                raise settings.error(where, f"`{part.strip()}` is no key.", hint)
            if key in _REFUSED:
                raise settings.error(where, f"`{part.strip()}` cannot be used: {_REFUSED[key]}.")
            keys.append(key)
        result[name] = ",".join(keys)
    _check_clashes(settings, result, known)
    return result


def _parse_key(text: str) -> str | None:
    if len(text) == 1:
        if text in _NAMES:
            return _NAMES[text]
        return text if text.isalnum() and text.isascii() else None
    *modifiers, last = text.split("+")
    if any(modifier != "ctrl" for modifier in modifiers):
        return text if text == "shift+tab" else None
    if modifiers:
        return f"ctrl+{last}" if len(last) == 1 and last.isalpha() and last.islower() else None
    return last if last in _NAMED else {"esc": "escape", "del": "delete"}.get(last)


_TOGETHER = (
    *(("app", scope) for scope in ("launch", "settings")),
    ("app", "list", "runs"),
    ("app", "list", "fleet"),
    *(("app", "run", tab) for tab in ("charts", "log", "files", "config")),
)
"""Scopes whose keys hold at the same time. Where two actions share a key by our choice (`N` in a
log), the part that has the focus has it; a person's own choice must be of one meaning."""


def _check_clashes(settings: Settings, own: Mapping[str, str], known: Mapping[str, Action]) -> None:
    changed = {name for name in own if own[name] != known[name].keys}
    for scopes in _TOGETHER:
        taken: dict[str, str] = {}
        for action in (action for scope in scopes for action in SCOPES[scope]):
            for key in own.get(action.id, known[action.id].keys).split(","):
                other = taken.setdefault(key, action.id)
                if other != action.id and {action.id, other} & changed:
                    mine, theirs = (action.id, other) if action.id in own else (other, action.id)
                    problem = f"`{key_text(key)}` is already {theirs}."
                    hint = f"Give {theirs} another key too, or choose a free one."
                    raise settings.error(f"keys.{mine}", problem, hint)
