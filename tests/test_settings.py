"""Settings: what holds, where it comes from, and what a person is told when a file is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from traindeck.backends.base import UsageError
from traindeck.console.documents import DocumentError
from traindeck.console.settings import SETTINGS, Settings, load, set_value, unset

FILE = """\
# Mine.
theme: light     # the office is bright
refresh: 5s

backends:
  gpu1: {kind: process, root: /scratch/me}   # big one
  local:
    root: ~/runs
keys:
  runs.stop: x
  runs.mark: 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config" / "settings.yaml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    settings = load(tmp_path / "none.yaml", {})
    assert settings == Settings(path=tmp_path / "none.yaml", sources=settings.sources)
    for setting in SETTINGS:
        assert getattr(settings, setting.name) == setting.default
        assert setting.parse(setting.show(setting.default)) == setting.default
        assert settings.source(setting.name).kind == "default"
    assert settings.backends["local"].kind == "process"


def test_without_a_file_no_yaml_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from traindeck.console import settings;"
        f"settings.load(Path({str(tmp_path / 'none.yaml')!r}), {{}});"
        "print([m for m in ('yaml', 'difflib', 'typing_extensions') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_value_says_where_it_came_from(file: Path) -> None:
    settings = load(file, {"TRAINDECK_REFRESH": "500ms", "TRAINDECK_MOUSE": "off"})
    assert (settings.theme, settings.refresh, settings.mouse) == ("light", 0.5, False)
    assert settings.source("theme").where == f"{file}, line 2"
    assert settings.source("refresh").where == "TRAINDECK_REFRESH"
    assert settings.source("mouse").kind == "environment"
    assert settings.source("glyphs").kind == "default"
    assert settings.backends["gpu1"].options == {"root": "/scratch/me"}
    assert settings.backends["local"].options == {"root": "~/runs"}
    assert settings.keys == {"runs.stop": "x", "runs.mark": "1"}
    error = settings.error("backends.gpu1.root", "no such folder.")
    assert str(error) == f"{file}, line 6: no such folder."


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("them: dark\n", 1, "Did you mean `theme`?"),
        ("zzzzzz: dark\n", 1, "There are: theme, glyphs"),
        ("\n\nglyphs: emoji\n", 3, "expected one of auto, best, plain, ascii"),
        ("refresh: 2\n", 1, "expected a time from 500ms to 10m, like 2s"),
        ("refresh: 1ms\n", 1, "expected a time from 500ms"),
        ("window: banana\n", 1, "like 24h or 7d, or all"),
        ("grace: -3s\n", 1, "expected a time from 0s"),
        ("mouse: maybe\n", 1, "expected true or false"),
        ("theme: [dark]\n", 1, "expected the name of a theme"),
        ("backends: gpu1\n", 1, "`backends` is no mapping"),
        ("backends:\n  gpu1: yes\n", 2, "`backends.gpu1` is no mapping"),
        ("backends:\n  gpu1:\n    root: /x\n", 2, "has no kind"),
        ("backends:\n  gpu 1:\n    kind: process\n", 2, "cannot name a backend"),
        ("backends:\n  a: {kind: process, x: {y: 1}}\n", 2, "expected one value or a list"),
        ("keys: x\n", 1, "`keys` is no mapping"),
        ("keys:\n  runs.stop: [x]\n", 2, "`keys.runs.stop` is no key"),
        ("theme: dark\ntheme: light\n", 2, "second time"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    file: Path, text: str, line: int, words: str
) -> None:
    file.write_text(text)
    with pytest.raises(DocumentError) as caught:
        load(file, {})
    assert str(caught.value).startswith(f"{file}, line {line}: ")
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_that_is_wrong_is_told_at_once(file: Path) -> None:
    file.write_text(
        "grace: long\nthme: dark\nbackends:\n  a: {root: /x}\n  b: 1\nkeys:\n  runs.stop: []\n"
        "refresh: soon\n"
    )
    with pytest.raises(DocumentError) as caught:
        load(file, {"TRAINDECK_GLYPHS": "emoji"})
    said = str(caught.value)
    assert said.startswith(f"{file}, line 1: `grace` is 'long'")
    parts = (
        "Also line 2: there is no setting `thme`. Did you mean `theme`?",
        "Also line 4: `backends.a` has no kind",
        "Also line 5: `backends.b` is no mapping",
        "Also line 7: `keys.runs.stop` is no key",
        "Also line 8: `refresh` is 'soon'",
        "Also TRAINDECK_GLYPHS is 'emoji'",
    )
    places = [said.index(part) for part in parts]
    assert places == sorted(places)


def test_a_wrong_variable_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TRAINDECK_GLYPHS is 'emoji': expected one of"):
        load(tmp_path / "x", {"TRAINDECK_GLYPHS": "emoji"})
    assert load(tmp_path / "x", {"TRAINDECK_GLYPHS": ""}).glyphs == "auto"


def test_changing_a_value_keeps_what_its_owner_wrote(file: Path) -> None:
    settings = set_value(file, "theme", "high", {})
    assert settings.theme == "high"
    assert file.read_text() == FILE.replace("light  ", "high  ")
    assert set_value(file, "window", "7d", {}).window == 7 * 86400
    assert set_value(file, "window", None, {}).window is None
    assert set_value(file, "keys.runs.retry", "z", {}).keys["runs.retry"] == "z"
    assert set_value(file, "backends.gpu1.root", "/data", {}).backends["gpu1"].options == {
        "root": "/data"
    }
    assert "# the office is bright" in file.read_text()
    assert "# big one" in file.read_text()
    assert unset(file, "theme", {}).theme == "dark"
    assert unset(file, "keys.runs.stop", {}).keys == {"runs.mark": "1", "runs.retry": "z"}


def test_the_first_change_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "settings.yaml"
    assert set_value(path, "mouse", False, {}).mouse is False
    assert path.read_text() == "mouse: false\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert unset(tmp_path / "none.yaml", "mouse", {}).mouse is True


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("refresh", "never", "expected a time"),
        ("thme", "dark", "Did you mean `theme`?"),
        ("keys", "x", "There is no setting `keys`"),
        ("theme.inner", "x", "There is no setting"),
        ("keys.runs.stop", "", "is no key"),
        ("backends.new.root", "/x", "has no kind"),
    ],
)
def test_a_wrong_change_leaves_the_file_alone(
    file: Path, name: str, value: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        set_value(file, name, value, {})
    assert file.read_text() == FILE


def test_a_broken_file_is_not_written_over(file: Path) -> None:
    file.write_text("theme: [\n")
    with pytest.raises(DocumentError):
        set_value(file, "theme", "dark", {})
    assert file.read_text() == "theme: [\n"


def test_a_window_is_written_as_a_person_would() -> None:
    by_name = {setting.name: setting for setting in SETTINGS}
    shown = [by_name["window"].show(v) for v in (None, 86400.0, 3600.0, 7 * 86400.0, 90.0)]
    assert shown == ["all", "1d", "1h", "7d", "90s"]


def test_the_runs_of_a_cluster_of_this_machine_lie_apart_from_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from traindeck.backends.registry import create

    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "settings.yaml"
    path.write_text("backends: {lab: {kind: slurm}, far: {kind: slurm, via: login1}}\n")
    settings = load(path, {})
    roots = settings.local_roots()
    assert roots == {
        "local": tmp_path / ".traindeck",
        "lab": tmp_path / ".traindeck/slurm/lab",
    }
    lab = create("lab", "slurm", settings.backends["lab"].options)
    assert lab.host.root == roots["lab"]  # type: ignore[attr-defined]


def test_a_cluster_by_slurmrestd_has_runs_only_where_a_folder_of_its_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "settings.yaml"
    place = "{kind: slurm, rest: 'https://x.example.org:6820'"
    path.write_text(f"backends: {{only: {place}}}, lab: {place}, root: /lab/me}}}}\n")
    assert load(path, {}).local_roots() == {
        "local": tmp_path / ".traindeck",
        "lab": Path("/lab/me"),
    }
