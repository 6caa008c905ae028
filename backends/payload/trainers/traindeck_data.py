"""The rows that a trainer learns from and is evaluated on: checked before anything heavy is loaded,
described, and made data sets of the Hugging Face library.

`options` are the trainer's: `data`, `data_split`, `eval_data`, `eval_share`, `loss_on`, `seed`.
Travels beside the trainers and imports nothing of Traindeck.
"""

from __future__ import annotations

import os
from typing import Any

from traindeck_reporting import Refused, say
from traindeck_rows import MESSAGES, TEXT, Rows, again, is_path, look, look_at_files


def check_data(options: Any) -> tuple[Rows | None, Rows | None]:
    """The rows to train on and to evaluate on, as far as they lie on this machine.

    Raises:
        Refused: Naming the first bad record by file, line and field.
    """
    answers = options.loss_on == "answers"
    held_out = None
    if options.eval_data and is_path(options.eval_data):
        held_out = look_at_files(options.eval_data, "", answers=answers, keep=True)
    if not is_path(options.data):
        return None, held_out
    rows = look_at_files(
        options.data,
        options.data_split,
        answers=answers,
        keep=options.eval_share > 0,
        against=held_out,
    )
    check_alike(rows, held_out)
    return rows, held_out


def check_alike(rows: Rows, held_out: Rows | None) -> None:
    """
    Raises:
        Refused: The rows to evaluate on have another shape, so that the loss would be another.
    """
    if held_out is not None and (held_out.kind, held_out.chat) != (rows.kind, rows.chat):
        raise Refused(f"eval_data: {shape_of(held_out)}, but data are {shape_of(rows)}.")


def shape_of(rows: Rows) -> str:
    if rows.kind == MESSAGES:
        return "chats"
    if rows.kind == TEXT:
        return "plain text"
    return "prompts and completions" + " as messages" * rows.chat


def describe(rows: Rows, options: Any, what: str) -> None:
    """Say what was found, and what a person may not expect."""
    say(f"{what}: {rows.count:,} rows of {shape_of(rows)} in {rows.source}")
    if rows.kind == TEXT and options.loss_on == "answers":
        say("  plain text has no answers, so the loss is on every token")
    if rows.empty:
        say(f"  {rows.empty:,} rows have an empty answer or text, the first at {rows.first_empty}")
    if rows.repeated:
        say(f"  warning: {rows.repeated:,} of these rows are among those to evaluate on as well")
    for role, count in sorted(rows.strange.items()):
        say(f"  warning: role {role!r} ({count:,} times) may mean nothing to the chat template")
    for name, count in sorted(rows.unused.items()):
        say(f"  field {name} is not used ({count:,} times)")


def load_data(options: Any, rows: Rows | None, held_out: Rows | None) -> tuple[Any, Any, Rows]:
    """Data sets to train on and to evaluate on (or None), and what is known of the first.

    Raises:
        Refused: A data set of the hub is not there or holds a bad record.
    """
    answers = options.loss_on == "answers"
    if options.eval_data and held_out is None:
        evaluation, held_out = _from_hub(options.eval_data, "test", answers, None)
    else:
        evaluation = _from_files(held_out, answers) if held_out is not None else None
    if rows is None:
        train, rows = _from_hub(options.data, options.data_split, answers, held_out)
        describe(rows, options, "data")
    else:
        train = _from_files(rows, answers)
    check_alike(rows, held_out)
    if evaluation is None and options.eval_share > 0:
        count = round(rows.count * options.eval_share)
        if not 0 < count < rows.count:
            raise Refused(
                f"eval_share {options.eval_share:g} of {rows.count:,} rows leaves none "
                f"to {'evaluate on' if count == 0 else 'train on'}."
            )
        parts = train.train_test_split(test_size=count, seed=options.seed)
        train, evaluation = parts["train"], parts["test"]
        say(f"held out: {count:,} of the rows, to evaluate on")
        if copies := rows.count - len(rows.keys):
            say(f"  warning: {copies:,} rows are copies of others, which may be trained on")
    return train, evaluation, rows


def _from_files(rows: Rows, answers: bool) -> Any:
    import datasets

    how = {"files": rows.files, "answers": answers, "digest": rows.digest}
    return datasets.Dataset.from_generator(again, features=_features(rows), gen_kwargs=how)


def _from_hub(name: str, split: str, answers: bool, against: Rows | None) -> tuple[Any, Rows]:
    import datasets

    name, _, config = name.partition(":")
    try:
        found = datasets.load_dataset(name, config or None, split=split)
    except Exception as error:  # whatever the hub's client raises, of many libraries
        raise Refused(unavailable("data", name, error)) from None
    places = ((f"{name} row {number}", row) for number, row in enumerate(found, 1))
    rows = look(name, places, answers=answers, keep=True, against=against)

    def normal_rows(digest: str) -> Any:
        from traindeck_rows import Rows, normal

        seen = Rows("")
        for row in found:
            yield normal(row, name, seen, answers)

    features = _features(rows)
    how = {"digest": rows.digest}
    return datasets.Dataset.from_generator(normal_rows, features=features, gen_kwargs=how), rows


def _features(rows: Rows) -> Any:
    """The columns of rows, so that nothing is guessed from the first of them."""
    from datasets import Features, Value

    text = Value("string")
    chat = [{"role": text, "content": text}]
    if rows.kind == MESSAGES:
        return Features({"messages": chat})
    if rows.kind == TEXT:
        return Features({"text": text})
    part = chat if rows.chat else text
    return Features({"prompt": part, "completion": part})


def unavailable(what: str, name: str, error: Exception) -> str:
    """One sentence for the many ways in which something is not to be had from the hub."""
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    if offline and not is_path(name):
        return (
            f"{what} {name}: not on this machine, and the hub is switched off (HF_HUB_OFFLINE). "
            "Give a local folder, or fetch it once with the hub on."
        )
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{what} {name}: cannot be loaded: {first or type(error).__name__}"
