"""Where in the run directory lies what was captured of code and environment."""

PATCH = "code/.traindeck/diff.patch"
UNTRACKED = "code/.traindeck/untracked.txt"
PACKAGES = "code/.traindeck/packages.txt"

CAPTURED = frozenset(path.removeprefix("code/") for path in (PATCH, UNTRACKED, PACKAGES))
"""Names that a snapshot leaves to them."""
