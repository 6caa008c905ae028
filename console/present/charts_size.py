"""How the Charts tab divides its width. Apart from the drawing, so that a key can ask about it
without importing numpy."""

from __future__ import annotations

TREE = 38
"""Cells of the tree; it is beside the charts from WIDE cells on."""
WIDE = 100
