"""Where in the run directory lies what was captured of code and environment."""

PATCH = "code/.traindeck/diff.patch"
UNTRACKED = "code/.traindeck/untracked.txt"
PACKAGES = "code/.traindeck/packages.txt"
