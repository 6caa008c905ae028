"""The menus of Runs: in what order, in which groups, with which columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from traindeck.console.present.cells import clean

from .overlay import MenuScreen, PickScreen

if TYPE_CHECKING:
    from .runs import RunsScreen

NO_GROUPS = "none"


def ask_order(screen: RunsScreen, use: Callable[[str], None]) -> None:
    """Ask by what to order; `use` gets the key, with `-` before it for the largest first."""
    items = [
        ("n", "newest first", "-latest"),
        ("o", "oldest first", "latest"),
        ("a", "name", "name"),
        ("r", "running time, longest first", "-runtime"),
        ("s", "step, furthest first", "-step"),
    ]
    main = _main_metric(screen)
    if main:
        word, key = clean(main), f"metric.{main}"
        items += [("m", f"{word}, lowest first", key), ("M", f"{word}, highest first", f"-{key}")]
    order = screen.model.view.order
    _ask(screen, MenuScreen("Order by", items, order[0] if order else "-latest"), use)


def _main_metric(screen: RunsScreen) -> str | None:
    """That of the run under the cursor, else of most runs in sight."""
    if screen.selected is not None and screen.selected.main:
        return screen.selected.main
    found = Counter(run.main for run in screen.in_sight() if run.main)
    return found.most_common(1)[0][0] if found else None


def ask_group(screen: RunsScreen, use: Callable[[str], None]) -> None:
    """Ask by what to group; `use` gets the key, "" for no groups."""
    items = [
        ("s", "state: what needs you first", "state"),
        ("b", "backend", "backend"),
        ("n", "no groups", NO_GROUPS),
    ]
    menu = MenuScreen("Group by", items, screen.model.view.group or NO_GROUPS)
    _ask(screen, menu, lambda group: use("" if group == NO_GROUPS else group))


def ask_columns(screen: RunsScreen, use: Callable[[list[str]], None]) -> None:
    """Ask which columns to show beside state and name: the usual ones, and of what runs were
    given. Those are read meanwhile."""
    from traindeck.console.present.runs_columns import OPTIONAL, column_of, column_words

    rows = screen.rows

    def without_room(ticked: Collection[str]) -> dict[str, str]:
        fitting = rows.layout_of(ticked, screen.in_sight())
        return {key: "no room" for key in ticked if key not in fitting}

    def items(keys: Iterable[str]) -> list[tuple[str, str]]:
        return [(key, column_words(key)) for key in keys]

    chosen = [key for key in rows.chosen if key not in ("state", "name")]
    kept = [key for key in chosen if key not in OPTIONAL]
    picked = PickScreen("Columns", items((*OPTIONAL, *kept)), chosen, "", without_room)
    screen.app.push_screen(picked, lambda keys: use(keys) if keys is not None else None)

    async def offer() -> None:
        named = map(column_of, await screen.deck.services.names())
        picked.offer(items(dict.fromkeys((*OPTIONAL, *named, *kept))))

    screen.spawn(offer())


def _ask(screen: RunsScreen, menu: MenuScreen, use: Callable[[str], None]) -> None:
    screen.app.push_screen(menu, lambda key: use(key) if key is not None else None)
