"""A name under which the form is kept as a recipe of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traindeck.backends.errors import TraindeckError

from .one_line import OneLineScreen

if TYPE_CHECKING:
    from traindeck.console.runs.drafting import Draft


class SaveScreen(OneLineScreen):
    """Asks for the name."""

    wanted_cells = 60
    title_words = "Save as a recipe"
    label = "name"
    suffix = ".yaml"
    words = "Its values are kept in your recipes folder; the place and the run's name are not."
    does = "save"

    def __init__(self, draft: Draft) -> None:
        super().__init__(f"{draft.recipe}-mine")
        self._draft = draft
        self._saving = False

    def take(self, text: str) -> None:
        if not self._saving:
            self._saving = True
            self.deck.start(self._save(text), "saving")

    async def _save(self, name: str) -> None:
        try:
            path = await self.deck.services.save_recipe(self._draft, name)
        except TraindeckError as error:
            self._saving = False
            self.refuse(str(error))
            return
        self.deck.notice(f"saved {path}")
        if self.is_current:  # it may have been left meanwhile
            self.dismiss(None)
