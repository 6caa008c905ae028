"""Logs of any size: opening, following, searching, neutralising.

From bytes to the screen: `source` (bytes by offset) → `units` and `lines` (what a line is) →
`neutral` (what may be shown) → `layout` (folds) → `window` (a screenful and its moves). Beside it:
`search` and `survey` ask `scanner`, a process of its own, through `worker` and keep what they learn
in a `census`; `times` knows when; `follow` and `raw` serve pipes; `findings` says what went wrong,
from `tracebacks` and the table of `failures`, and `evidence` asks it about an open log.
"""
