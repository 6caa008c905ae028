"""What the quickest commands pay for importing the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

LIST = """
from pathlib import Path
from traindeck.console.store.index import Index
from traindeck.console.store.places import find_places
find_places({"HOME": "/nowhere"})
index = Index.open(Path(args["path"]))
index.catch_up(Path(args["path"]).with_name("annotations.jsonl"))
assert not index.has_active()
b"".join(index.json_array())
index.close()
print(json.dumps(sorted(sys.modules)))
"""


def test_printing_all_runs_imports_nothing_but_the_index(
    index: Any, make_run: Callable[..., Any], process: Callable[..., Any]
) -> None:
    index.put(make_run())
    loaded = json.loads(process(LIST, path=str(index.path)).result())
    ours = {name for name in loaded if name.startswith("traindeck.")}
    store = "traindeck.console.store"
    modules = {f"{store}.{name}" for name in ("index", "leases", "database", "schema", "places")}
    data = {"traindeck.backends", "traindeck.backends.data"}
    assert ours == {"traindeck.console", store, *modules, *data}
    heavy = {"numpy", "yaml", "platformdirs", "hashlib", "subprocess", "asyncio", "typer", "rich"}
    assert not heavy & set(loaded)
