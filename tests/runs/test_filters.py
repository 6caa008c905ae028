"""The filter language: what people type, what it means, and that SQL means the same."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from traindeck.backends.base import Reach, State
from traindeck.console.runs.filters import KEYS, LANGUAGE, FilterError, completed, parse
from traindeck.console.store.filtering import (
    SORT_FIELDS,
    Condition,
    Filter,
    glob_fits,
    value_of,
)
from traindeck.console.store.ids import mint_id
from traindeck.console.store.index import Index
from traindeck.console.store.records import MetricSummary, Progress, RunRecord

NOW = 1_800_000_000.0


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index.open(tmp_path / "index.db")
    yield opened
    opened.close()


def metric(key: str, last: float) -> MetricSummary:
    return MetricSummary(key=key, count=1, first=last, last=last, last_step=1)


RUNS = [
    RunRecord(
        id="1s2dpxrnbz01", name="llama-LoRA-1", state=State.RUNNING, created=NOW - 3600,
        tags={"sft": "", "lr": "3e-4"}, params={"lr": 3e-4, "optim": "adamw", "packing": True},
        metrics={"loss": metric("loss", 1.2)}, gpus=2, project="chat",
        progress=Progress(step=100),
    ),
    RunRecord(
        id="1s2dpxrnbz02", name="nanogpt [bf16] big", state=State.FAILED, created=NOW - 3 * 86400,
        ended=NOW - 2 * 86400, exit_code=1, backend="gpu1", host="GPU1.lab",
        tags={"demo": "yes", "optim": "5", "seed": "7"}, note="try 40 GB",
        params={"lr": "1e-5", "optim": "SGD"},
        metrics={"loss": metric("loss", math.nan), "acc": metric("acc", 0.5)},
    ),
    RunRecord(
        id="1s2dpxrnbz03", name="base", state=State.SUCCEEDED, created=NOW - 7200, exit_code=0,
        ended=NOW - 60, looked_at=NOW, recipe="sft", attempt=1,
        tags={"rate": "5e-4", "acc": "0.7", "loss": "low"},
        metrics={"loss": metric("loss", 2.5), "eval/acc": metric("eval/acc", 0.9)},
    ),
    RunRecord(
        id="1s2dpxrnbz04", name="", state=State.RUNNING, reach=Reach.DOWN, created=NOW - 100,
        observed_at=NOW - 1000, archived=True, params={"lr": None},
    ),
]  # fmt: skip


def found(text: str) -> list[str]:
    """Last characters of the ids that match, in Python."""
    wanted = parse(text, now=NOW)
    return [run.id[-1] for run in RUNS if wanted.matches(run, NOW)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1234"),
        ("state:running", "14"),
        ("state:running,failed", "124"),
        ("state:done", "3"),
        ("state:unknown", "4"),
        ("-state:failed", "134"),
        ("reach:down", "4"),
        ("tag:sft", "1"),
        ("tag:lr=3e-4", "1"),
        ("tag:lr=*", "1"),
        ("tag:sft tag:lr", "1"),
        ("tag:sft,demo", "12"),
        ("tag:SFT", "1"),
        ("name:*lora*", "1"),
        ("name:lora", ""),
        ("name:base", "3"),
        ('name:"nanogpt [bf16] big"', "2"),
        ("id:1s2dpxrnbz0", "1234"),
        ("id:*3", "3"),
        ("lora", "1"),
        ("LORA", "1"),
        ("lr=3e-4", "1"),
        ("-lora -base", "24"),
        ('"nanogpt [bf16]"', "2"),
        ("name:*[bf16]*", "2"),
        ("name:nanogpt?[bf]*", ""),
        ("big nano", "2"),
        ("since:2h", "134"),
        ("since:1h", "14"),
        ("before:2h", "2"),
        ("since:2000-01-01", "1234"),
        ("before:2000-01-01T12:00:00Z", ""),
        ("backend:gpu1", "2"),
        ("host:gpu1*", "2"),
        ("project:chat", "1"),
        ("recipe:sft", "3"),
        ("note:*40*", "2"),
        ("note:*", "2"),  # a pattern fits nothing where there is nothing
        ("-note:*", "134"),
        ("is:active", "14"),
        ("is:over", "23"),
        ("is:archived", "4"),
        ("-is:archived", "123"),
        ("is:needs-you", "2"),  # 4 does not answer either, and is archived
        ("param.lr>1e-4", "1"),
        ("param.lr<=1e-5", "2"),
        ("param.lr=3e-4", "1"),
        ("param.lr!=3e-4", "2"),
        ("param.lr=null", "4"),
        ("param.optim=adam*", "1"),
        ("param.optim!=adamw", "2"),
        ("param.packing=true", "1"),
        ("-param.optim=adamw", "234"),
        ("lr>1e-4", "1"),
        ("lr<=1e-5", "2"),
        ("lr=0.0003", "1"),
        ("rate>1e-4", "3"),
        ("rate=0.0005", "3"),
        ("rate!=5e-4", ""),
        ("-rate>1e-4", "124"),
        ("optim>1", ""),
        ("seed>=7", "2"),
        ("acc>0.6", "3"),
        ("acc=0.5", "2"),
        ("loss>2", "3"),
        ("optim=adam*", "1"),
        ("optim!=adamw", "2"),
        ("loss<1.3", "1"),
        ("loss>=0", "13"),
        ("metric.loss<1.3", "1"),
        ("eval/acc>0.8", "3"),
        ("-loss<1.3", "234"),
        ("gpus>1", "1"),
        ("attempt=1", "3"),
        ("exit_code!=0", "2"),
        ("step>=100", "1"),
    ],
)
def test_what_a_filter_finds(index: Index, text: str, expected: str) -> None:
    assert "".join(found(text)) == expected
    index.put_many(RUNS)
    rows = index.rows(index.ids(parse(text, now=NOW), sort=("id",), now=NOW), metrics="all")
    assert "".join(run.id[-1] for run in rows) == expected


def test_words_of_a_shell_are_taken_as_they_are() -> None:
    assert parse(["state:failed", "my run"]) == parse('state:failed "my run"')
    assert parse(['name:"my run"']) == parse('name:"my run"')
    assert parse([]) == Filter()


def test_the_order_is_part_of_the_filter(index: Index) -> None:
    index.put_many(RUNS)

    def ordered(text: str) -> str:
        rows = index.rows(index.ids(parse(text), now=NOW))
        return "".join(run.id[-1] for run in rows)

    assert ordered("") == "4132"
    assert ordered("sort:created") == "2314"
    assert ordered("sort:loss") == "1342", "runs without a value come last"
    assert ordered("sort:-loss") == "3142", "in either direction"
    assert ordered("sort:-param.lr") == "1243"
    assert ordered("sort:-lr") == "1243"
    assert ordered("sort:acc") == "2341", "a tag that is a number before a metric"
    assert ordered("sort:optim") == "1243", "a parameter counts before a tag, text or not"
    assert ordered("sort:rate") == "3412"
    assert ordered("sort:state,-name") == "1432"
    assert parse("sort:age").sort == ("-latest",), "the youngest first, as the column counts"
    assert parse("sort:-age").sort == ("latest",)
    assert ordered("sort:-gpus sort:id") == "1234"


@pytest.mark.parametrize("key", SORT_FIELDS)
def test_everything_that_is_offered_can_be_sorted_by(index: Index, key: str) -> None:
    index.put_many(RUNS)
    for text in (f"sort:{key}", f"sort:-{key}"):
        assert len(index.ids(parse(text), now=NOW)) == 4


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("stat:running", 1, "Did you mean state?"),
        ("lora foo:x", 6, "Keys are state, tag"),
        ("state:runing", 1, "Did you mean running?"),
        ("tag:sft state:", 9, "needs a value"),
        ("state:running,,failed", 1, "empty value"),
        ("is:good", 1, "One of active"),
        ("since:2", 1, "neither a duration nor a date"),
        ("since:yesterday", 1, "since:2d"),
        ("since:99999d", 1, "at most a year"),
        ("before:2026-13-40", 1, "neither"),
        ("loss<low", 1, "'low' is no number"),
        ("loss<", 1, "nothing to compare with"),
        ("<3", 1, "nothing to compare before"),
        ("loss<1e999", 1, "is no number"),
        ("loss<nan", 1, "is no number"),
        ("param.<3", 1, "nothing to compare before"),
        ("-", 1, "nothing after the `-`"),
        ("sort:craeted", 1, "Did you mean created?"),
        ("sort:", 1, "needs a value"),
        ("-sort:loss", 1, "cannot be negated"),
        ("a 'b", 3, "not closed"),
        ('x name:"my', 3, "not closed"),
    ],
)
def test_a_word_that_is_not_understood_is_named_with_its_place(
    text: str, position: int, says: str
) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert f"character {position}," in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.start == position - 1
    assert caught.value.exit_code == 2


def test_a_filter_is_bounded() -> None:
    with pytest.raises(FilterError, match="at most 4,000 characters"):
        parse("x" * 5000)
    with pytest.raises(FilterError, match="at most 100 words"):
        parse("a " * 101)


def test_a_time_of_day_is_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        (condition,) = parse("since:00:10", now=NOW).conditions
        assert condition.number == NOW // 86400 * 86400 + 600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_relative_times_stay_relative() -> None:
    wanted = parse("since:2h")
    run = replace(RUNS[0], created=NOW)
    assert wanted.matches(run, NOW + 7199)
    assert not wanted.matches(run, NOW + 7201)


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "state:",
                "running",
                "-",
                '"',
                "'",
                "tag:",
                "lr=",
                "<",
                ">=",
                "!=",
                "param.",
                ",",
                " ",
                "*",
                "since:",
                "2d",
                "sort:",
                "loss",
                "1e3",
                "\0",
                "\udcff",
                "é",
            ]
        ),
        max_size=12,
    ).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_anything_typed_is_understood_or_refused_in_words(text: str) -> None:
    try:
        wanted = parse(text)
    except FilterError as error:
        assert 0 <= error.start <= error.end <= len(text)
        assert str(error)
    else:
        wanted.matches(RUNS[0], NOW)


# ------------------------------------------------------------------------------- SQL means the same

words = st.text(
    st.sampled_from("aAbZß*?[]^-é%_'\"\\ ") | st.characters(codec="utf-8", exclude_characters="\0"),
    max_size=6,
)
floats = st.sampled_from([0.0, 1.0, -1.5, 3e-4, 1e300]) | st.floats(allow_nan=False, width=32)
keys = st.sampled_from(["loss", "acc", "a b"])
values = st.one_of(words, floats, st.integers(), st.booleans(), st.none())
runs = st.builds(
    RunRecord,
    id=st.just(""),
    name=words,
    backend=st.sampled_from(["local", "GPU1"]) | words,
    state=st.sampled_from(State),
    reach=st.sampled_from(Reach),
    observed_at=st.floats(NOW - 2000, NOW),
    created=st.floats(NOW - 1e6, NOW),
    ended=st.none() | st.just(0.0) | st.floats(NOW - 1e6, NOW),
    looked_at=st.none() | st.floats(NOW - 1e6, NOW) | st.floats(NOW - 2000, NOW),
    broken_at=st.none() | st.floats(NOW - 2000, NOW),
    troubled_at=st.none() | st.floats(NOW - 2000, NOW),
    silent_from=st.none() | st.floats(NOW - 2000, NOW + 2000),
    host=st.none() | words,
    project=words,
    recipe=st.none() | words,
    note=words,
    gpus=st.integers(0, 9),
    attempt=st.integers(0, 3),
    exit_code=st.none() | st.integers(0, 255),
    archived=st.booleans(),
    foreign=st.booleans(),
    progress=st.builds(Progress, step=st.none() | st.integers(0, 1 << 60)),
    tags=st.dictionaries(
        words | keys, words | floats.map(str) | st.sampled_from(["3e-4", "nan", "1_0"]), max_size=4
    ),
    params=st.dictionaries(
        keys, values | st.lists(values, min_size=1, max_size=3).map(tuple), max_size=3
    ),
    main=st.none() | keys,
    metrics=st.dictionaries(
        keys, floats | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=3
    ).map(lambda found: {key: metric(key, last) for key, last in found.items()}),
)
folded = words.map(str.casefold)
several = st.lists(folded, min_size=1, max_size=3).map(tuple)
operators = st.sampled_from(["<", "<=", ">", ">=", "=", "!="])
conditions = st.one_of(
    st.builds(
        Condition, kind=st.just("text"), values=several,
        key=st.sampled_from(["name", "id", "backend", "host", "project", "recipe", "note"]),
    ),
    st.builds(Condition, kind=st.sampled_from(["tag", "word"]), values=several),
    st.builds(
        Condition, kind=st.just("state"),
        values=st.lists(st.sampled_from([*State, "unknown"]), min_size=1).map(tuple),
    ),
    st.builds(Condition, kind=st.just("reach"), values=st.sampled_from(Reach).map(lambda r: (r,))),
    st.builds(
        Condition, kind=st.just("is"),
        values=st.sampled_from(["active", "over", "archived", "foreign", "needs-you"]).map(
            lambda mark: (mark,)
        ),
    ),
    st.builds(
        Condition, kind=st.sampled_from(["since", "before"]), ago=st.just(True),
        number=st.floats(0, 1e6),
    ),
    st.builds(
        Condition, kind=st.just("number"), op=operators, number=floats,
        key=st.sampled_from(["attempt", "gpus", "exit_code", "step"]),
    ),
    st.builds(
        Condition, kind=st.sampled_from(["metric", "param"]), key=keys, op=operators, number=floats
    ),
    st.builds(
        Condition, kind=st.sampled_from(["param", "value"]), key=keys,
        op=st.sampled_from(["=", "!="]), values=folded.map(lambda value: (value,)),
    ),
    st.builds(
        Condition, kind=st.just("value"), key=keys, op=st.sampled_from(["<", ">=", "!="]),
        number=floats,
    ),
    st.builds(
        Condition, kind=st.just("value"), key=keys, op=st.just("="), number=floats,
        values=folded.map(lambda value: (value,)),
    ),
)  # fmt: skip
filters = st.lists(
    st.builds(replace, conditions, negated=st.booleans()), min_size=1, max_size=3
).map(lambda found: Filter(conditions=tuple(found)))


@given(
    made=st.lists(runs, min_size=1, max_size=6), wanted=st.lists(filters, min_size=1, max_size=8)
)
@pytest.mark.slow
@settings(
    max_examples=1000 if os.environ.get("SOAK") else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_index_finds_exactly_what_matches(
    index: Index, made: list[RunRecord], wanted: list[Filter]
) -> None:
    made = [replace(run, id=mint_id()) for run in made]
    index.put_many(made)
    kept = index.rows(index.ids(), metrics="all")
    for one in wanted:
        rows = index.rows(index.ids(one, now=NOW), metrics="all")
        assert {run.id for run in rows} == {run.id for run in kept if one.matches(run, NOW)}, one
    for key in ("loss", "acc", "a b"):
        meant = [value_of(run, key) for run in kept]
        numbers = [value for value in meant if value is not None and not math.isnan(value)]
        rows = index.rows(index.ids(Filter(sort=(f"-value.{key}",)), now=NOW), metrics="all")
        ordered = [value_of(run, key) for run in rows[: len(numbers)]]
        assert ordered == sorted(numbers, reverse=True)
    index.delete([run.id for run in made])


@given(
    text=st.text(st.sampled_from("ab"), max_size=8),
    pattern=st.text(st.sampled_from("ab*?"), max_size=6),
)
@example("", "*")
@settings(max_examples=200, deadline=None)
def test_wildcards_span_the_whole_text(text: str, pattern: str) -> None:
    import fnmatch

    assert glob_fits(text, pattern) == fnmatch.fnmatchcase(text, pattern)


def test_a_spiteful_pattern_takes_no_time() -> None:
    assert not glob_fits("a" * 4000, "*a" * 400 + "b")


def test_every_key_is_explained_when_its_value_is_missing() -> None:
    for key in KEYS:
        with pytest.raises(FilterError, match=r"needs a value\. (For example|One of)"):
            parse(f"{key}:")


@pytest.mark.parametrize(
    "text", ["state:failed or state:lost", "lora AND demo", "not demo", "a || b"]
)
def test_words_of_other_languages_are_told_what_this_one_has(text: str) -> None:
    with pytest.raises(FilterError, match="no word of the language"):
        parse(text)
    assert parse('"or" name:or').conditions  # quoted, or after a key, it is what it says


def test_a_metric_that_no_run_ever_had_is_refused_with_the_nearest(
    index: Index,
) -> None:
    for text in ("nosuch>3", "sort:nosuch", "metric.nosuch<1", "-nosuch>3"):
        assert parse(text, known=index), "an empty index accepts anything"
    metrics = {key: MetricSummary(key=key, count=1, last=1.0) for key in ("loss", "grad_norm")}
    given = {"learning_rate": 3e-4}
    index.put(RunRecord(id=mint_id(), metrics=metrics, params=given, tags={"warmup": "10"}))
    for text in (
        "loss<2 grad_norm>1 learning_rate>1e-4", "sort:-grad_norm", "metric.loss<2", "step>3",
        "param.learning_rate=3e-4", "sort:param.learning_rate", "sort:created", "sft=1", "lora",
        "sort:learning_rate", "warmup>3", "sort:-warmup",
    ):  # fmt: skip
        assert parse(text, known=index) == parse(text)
    index.put(RunRecord(id=mint_id(), metrics={"eval/loss": MetricSummary(key="eval/loss")}))
    for printed, kept in (
        ("val_loss<2", "eval/loss<2"), ("sort:-val_loss", "sort:-eval/loss"),
        ("metric.val_loss>1", "metric.eval/loss>1"),
    ):  # fmt: skip
        assert parse(printed, known=index) == parse(kept), "as the script calls it"
    for text, near in (
        ("lss>3", "loss"),
        ("sort:-grad_nrm", "grad_norm"),
        ("metric.los>3", "loss"),
        ("param.learning_rat>3", "learning_rate"),
        ("sort:metric.learning_rate", r"param\.learning_rate"),
        ("sort:learning_rat", "learning_rate"),
        ("wramup>3", "warmup"),
        ("state:failed -los!=3", "loss"),
    ):
        key = text.startswith("sort:") and "metric." not in text
        said = "there is no key, parameter, tag or metric" if key else "no run has a"
        with pytest.raises(FilterError, match=f"{said} .* Did you mean {near}\\?"):
            parse(text, known=index)
    with pytest.raises(
        FilterError, match="no run has a parameter, tag or metric 'zzzzzz'"
    ) as refused:
        parse("state:failed zzzzzz>3", known=index)
    assert (refused.value.start, refused.value.end) == (13, 21)


@pytest.mark.parametrize("example", [example for example, _ in LANGUAGE])
def test_every_example_of_the_help_is_a_filter(example: str) -> None:
    assert parse(example)


@pytest.mark.parametrize(
    ("text", "rest"),
    [("sta", "te:"), ("state:f", "ailed"), ("lora -ta", "g:"), ("s", ""), ("lora", ""), ("", "")],
)
def test_what_completes_a_filter_being_typed_is_what_all_words_there_have_in_common(
    text: str, rest: str
) -> None:
    assert completed(text)[0] == rest
