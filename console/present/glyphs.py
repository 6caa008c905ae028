"""The signs on screen, in three sets: as designed, for fonts and locales that draw some of them two
cells wide, and for terminals that know only ASCII. Every sign is exactly one cell in its set."""

from __future__ import annotations

from traindeck.backends.data import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """One set. `spark` has seven levels, lowest first; `charts` names how curves are drawn."""

    name: str
    running: str
    starting: str
    queued: str
    done: str
    failed: str
    ended: str
    unknown: str
    warning: str
    meter: str
    meter_half: str
    meter_rest: str
    meter_stale: str
    spark: str
    spark_gap: str
    folded: str
    unfolded: str
    cursor: str
    cursor_dim: str
    mark: str
    crumb: str
    ellipsis: str
    rule: str
    dot: str
    dash: str
    arrow: str
    charts: str


BEST = Glyphs(
    name="best",
    running="●",
    starting="◐",
    queued="◌",
    done="✓",
    failed="✗",
    ended="■",
    unknown="?",
    warning="▲",
    meter="━",
    meter_half="╸",
    meter_rest="─",
    meter_stale="╍",
    spark="▁▂▃▄▅▆▇",
    spark_gap="·",
    folded="▸",
    unfolded="▾",
    cursor="▌",
    cursor_dim="▏",
    mark="+",
    crumb="›",
    ellipsis="…",
    rule="─",
    dot="·",
    dash="–",
    arrow="→",
    charts="braille",
)

PLAIN = Glyphs(
    name="plain",
    running="●",
    starting="◐",
    queued="◌",
    done="√",
    failed="×",
    ended="■",
    unknown="?",
    warning="▲",
    meter="▬",
    meter_half="▬",
    meter_rest="─",
    meter_stale="╌",
    spark="▁▂▃▄▅▆▇",
    spark_gap="·",
    folded="▸",
    unfolded="▾",
    cursor="▌",
    cursor_dim="▏",
    mark="+",
    crumb="›",
    ellipsis="…",
    rule="─",
    dot="·",
    dash="–",
    arrow="→",
    charts="quadrants",
)

ASCII = Glyphs(
    name="ascii",
    running="*",
    starting="~",
    queued=".",
    done="+",
    failed="x",
    ended="#",
    unknown="?",
    warning="!",
    meter="=",
    meter_half="=",
    meter_rest="-",
    meter_stale="~",
    spark="_.,-=+^",
    spark_gap=" ",
    folded="+",
    unfolded="-",
    cursor=">",
    cursor_dim="|",
    mark="+",
    crumb=">",
    ellipsis="~",
    rule="-",
    dot="-",
    dash="-",
    arrow=">",
    charts="ascii",
)

SETS = {"best": BEST, "plain": PLAIN, "ascii": ASCII}


def for_encoding(wanted: str, encoding: str | None) -> Glyphs:
    """The set for text in an encoding: the wanted one (`auto` is the designed one) if that can be
    written in it, else the one of ASCII signs."""
    chosen = SETS.get(wanted, BEST)
    try:
        "".join(str(getattr(chosen, name)) for name in chosen.__slots__).encode(encoding or "ascii")
    except (UnicodeError, LookupError):
        return ASCII
    return chosen


_TO_ASCII = str.maketrans(
    {
        "…": "~", "·": "-", "–": "-", "−": "-", "×": "x", "→": ">", "›": ">", "≈": "~", "│": "|",
        "─": "-", "━": "=", "╸": "=", "╍": "~", "▌": ">", "▏": "|", "┈": ".", "↑": "^", "↓": "v",
        "←": "<", "±": "~", "∞": "i", "�": "?", "°": " ", "µ": "u", "⎋": "^",
        "≥": ">", "≤": "<", "•": "*", "◆": "#", "┊": ":", "▐": "|", "└": "`",
    }
)  # fmt: skip


def ascii_text(text: str) -> str:
    """`text` for a terminal that knows only ASCII, cell for cell: known signs become their
    likeness, control pictures a caret, everything else `?` in as many cells as it took."""
    if text.isascii():
        return text
    from .cells import char_width

    out = []
    for char in text.translate(_TO_ASCII):
        if char.isascii():
            out.append(char)
        elif 0x2400 <= ord(char) <= 0x2424:
            out.append("^")
        else:
            out.append("?" * char_width(char))
    return "".join(out)
