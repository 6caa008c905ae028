"""Numbers as scripts print them, and the words beside numbers that are no metrics."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from traindeck.console.metrics.reading import BIGGEST_STEP

NEVER = re.compile(
    r"v_num|version|port|host|(?:p|t|u|g)?id|rank|seed|epochs?|ep|global_?step|steps?|it"
    r"|iter|iterations?|eta|date|(?:\w+_)?time|timestamp|ts|line|exit|code|level|gpus?|device|cuda|node"
    r"|world_size|batch|batch_size|bsz|elapsed|time_elapsed|remaining|total_timesteps|n_updates|wall|percentage|https?"
    r"|[dtpc]p|samples|consumed|skipped|number|num|num_updates|total|max_steps|total_steps|size|value"
    r"|memory|mem|max mem|max_mem|ram|vram|data|loss scale|attempt"
    r"|of|in|at|for|took|after|and|to|ms|per|the|from|is|with"
    r"|[\w./-]+\.(?:py|cc|cpp|cu|rs|jl|sh)",
    re.I,
)
"""Names that are never metrics (`is_never`)."""

_KNOWN = re.compile(
    r"(?:(?:average|avg|mean|train(?:ing)?|val(?:id(?:ation)?)?|eval|test|lm|total) )?"
    r"(?:loss|acc|accuracy|ppl|perplexity|reward|bleu|rouge\w*|f1|auc|bpb|kl)"
    r"|lm loss (?:value|ppl)",
    re.I,
)
_ENDS = re.compile(r"(?:^|[_/. -])(?:loss|acc|accuracy|ppl|perplexity|reward|f1|auc|bpb)$", re.I)
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")


@lru_cache(maxsize=4096)
def is_metric(name: str) -> bool:
    """Whether a name is a metric's even where no step is named."""
    return _KNOWN.fullmatch(name) is not None or _ENDS.search(name) is not None


@lru_cache(maxsize=4096)
def is_never(name: str) -> bool:
    """Whether a name is none of a metric."""
    return NEVER.fullmatch(name) is not None


def number(text: str) -> float | None:
    """A number as printed; thousands separators are taken out only where they stand right."""
    if "," in text:
        text = text.rstrip(",")
        if "," in text:
            if not _GROUPED.fullmatch(text):
                return None
            text = text.replace(",", "")
    if "_" in text:  # Python's own separators: an identifier, not a number
        return None
    try:
        return float(text)
    except ValueError:
        return None


def real(value: object) -> float | None:
    """A value of a dictionary as a number, if it is one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return number(value) if isinstance(value, str) else None


def whole(value: float | None) -> int | None:
    """A number as a step, None if it cannot be one."""
    if value is None or not 0 <= value < BIGGEST_STEP:
        return None
    return int(value)


def integer(text: str | None) -> int | None:
    """A text as a step, None if it cannot be one."""
    return None if text is None else whole(number(text))
