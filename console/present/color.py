"""Colour arithmetic for themes: reading `#rrggbb`, mixing, luminance, and the nearest of the 256
colours that older terminals have. Pure; knows nothing of terminals or themes."""

from __future__ import annotations

import re
from functools import lru_cache

RGB = tuple[int, int, int]

_HEX = re.compile(r"#[0-9a-fA-F]{6}\Z")
_STEPS = (0, 95, 135, 175, 215, 255)


def is_hex(text: str) -> bool:
    """Whether `text` is a colour as `#rrggbb`."""
    return _HEX.match(text) is not None


def rgb(text: str) -> RGB:
    """`#rrggbb` as three bytes."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def hexed(color: RGB) -> str:
    """Three bytes as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def linear(channel: float) -> float:
    """One sRGB channel (0…1) as linear light (IEC 61966-2-1)."""
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def luminance(color: str) -> float:
    """Relative luminance, 0…1 (WCAG 2.1)."""
    red, green, blue = (linear(part / 255) for part in rgb(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1…21 (WCAG 2.1)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@lru_cache(maxsize=1024)
def mix(one: str, other: str, share: float) -> str:
    """`one` with `share` (0…1) of `other` in it, channel by channel as terminals blend."""
    a, b = rgb(one), rgb(other)
    mixed = [round(x + (y - x) * share) for x, y in zip(a, b, strict=True)]
    return hexed((mixed[0], mixed[1], mixed[2]))


@lru_cache(maxsize=4096)
def oklab(color: RGB) -> tuple[float, float, float]:
    """A colour in Oklab, where distances are roughly as seen (B. Ottosson, 2020)."""
    r, g, b = (linear(part / 255) for part in color)
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def palette_color(number: int) -> RGB:
    """The colour 16…255 of the 256-colour palette. The first 16 are the user's own."""
    if number >= 232:
        level = 8 + 10 * (number - 232)
        return level, level, level
    cube = number - 16
    return _STEPS[cube // 36], _STEPS[cube // 6 % 6], _STEPS[cube % 6]


@lru_cache(maxsize=1)
def _palette() -> tuple[tuple[int, float, float, float], ...]:
    """The palette's colours 16…255 in Oklab."""
    return tuple((number, *oklab(palette_color(number))) for number in range(16, 256))


@lru_cache(maxsize=512)
def nearest_256(color: str, *, ground: bool = False) -> int:
    """The number (16…255) of the nearest colour of the 256-colour palette.

    Inks are told apart by hue, so hue counts double; a ground must above all not get lighter, or
    nothing on it can be read.
    """
    light, red, yellow = oklab(rgb(color))
    hue = 1 if ground else 2
    best, least = 16, 1e9
    for number, a, b, c in _palette():
        distance = (a - light) ** 2 + hue * ((b - red) ** 2 + (c - yellow) ** 2)
        if distance < least:
            best, least = number, distance
    return best
