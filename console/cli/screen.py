"""Starting the full-screen application: Textual is imported, the command parser is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace


def check_settings(ws: Workspace) -> None:
    """Refuse, as the screen would, what of the settings only the screen looks at: its theme and its
    keys. Imports no Textual.

    Raises:
        UsageError: The first thing for which the screen would not start.
    """
    from traindeck.console.present.theme import check
    from traindeck.console.tui.keys import keymap

    check(ws.settings, ws.places.themes)
    keymap(ws.settings)


def run_screen() -> int:
    """Open the screen and return the exit code."""
    from traindeck.backends.errors import TraindeckError
    from traindeck.console.cli import output
    from traindeck.console.runs.told import Told
    from traindeck.console.runs.workspace import open_workspace

    told = Told()
    try:
        ws = open_workspace(tell=told.tell)
        settings = ws.settings  # a broken file stops every command, this one too
        from traindeck.console.tui.live import LiveServices
        from traindeck.console.tui.questions import ScreenAsker

        asker = ScreenAsker()
        services = LiveServices(lambda: ws, asker)  # opens the index while Textual is imported
        from traindeck.console.tui.app import TraindeckApp

        app = TraindeckApp(services, settings=settings, places=ws.places, told=told, asker=asker)
        try:
            app.run()
        finally:
            asker.close()  # whoever waits for an answer would hold the services up
            services.close()
        return app.return_code or 0
    except TraindeckError as error:
        output.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        for line in told.rest():
            output.tell(line)
