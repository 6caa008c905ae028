"""How far a pull of files is, and what became of it, in words."""

from __future__ import annotations

from collections.abc import Sequence

from traindeck.console.present.ages import spoken
from traindeck.console.present.numbers import plural, rate, size
from traindeck.console.runs.pulling import Progress, Pulled


def meter_words(at: Progress, seconds: float) -> str:
    """How far it is, in a line, after so many seconds."""
    parts = [
        f"{at.files_done:,} of {plural(at.files, 'file')}",
        f"{size(at.done)} of {size(at.size)}",
    ]
    came = at.done - at.before
    if seconds > 1 and came > 0:
        speed = came / seconds
        parts += [rate(speed), f"{spoken((at.size - at.done) / speed)} left"]
    return " · ".join([*parts, *filter(None, [at.path])])


def sum_words(pulled: Sequence[Pulled], seconds: float) -> str:
    """What came, in a sentence without its end."""
    written = [one for one in pulled if one.state == "written"]
    same = sum(one.state == "same" for one in pulled)
    words = f"{plural(len(written), 'file')}, {size(sum(one.size for one in written))}"
    words += f", in {spoken(seconds)}"
    return f"{words}; {plural(same, 'file')} here already" if same else words
