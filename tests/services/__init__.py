"""Real services for tests: each is started in a folder of its own, on free ports of the loopback,
and ended by the process ids that were recorded."""

from __future__ import annotations

import os
import shutil

import pytest


def need(program: str, package: str) -> str:
    """The path of a program that a test cannot do without. Where it is missing the test is skipped
    with what to install; under CI that is a failure."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is not None:
        return found
    words = f"{program} is not here: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)
