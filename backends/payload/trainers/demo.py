#!/usr/bin/env python3
"""What `traindeck demo` trains: a small language, a base model that knows it, and an exam.

The base model is trained here for real, in seconds: it learns to copy and take apart made-up words.
It has never seen the new task, pig latin, which the `sft` trainer then teaches it from generated
chats; the exam asks for words that occur in no training row of either. Everything follows from the
seed. The folder it writes is an ordinary transformers model that any trainer could take.

    python demo.py base --out FOLDER [--seed N] [--steps N]
    python demo.py evaluate --data FOLDER --adapter NAME=FOLDER … --out FILE
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from traindeck_reporting import REFUSED, Metrics, Refused, calm_libraries, clock, say

CHARACTERS = " abcdefghijklmnopqrstuvwxyz:"
SPECIAL = ("<|pad|>", "<|unk|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}"
    "{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

VOWELS = "aeiou"
ONSETS = (
    *("b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z"),
    *("br", "cl", "dr", "fl", "gr", "pl", "sk", "sl", "sp", "st", "tr", "th", "ch", "sh"),
)
NUCLEI = ("a", "e", "i", "o", "u", "ai", "ee", "oa")
CODAS = ("", "", "n", "r", "s", "t", "l", "m", "ck", "nd")
SHORTEST, LONGEST = 3, 6

KNOWN: dict[str, Callable[[str], str]] = {
    "copy": lambda word: word,
    "spell": lambda word: " ".join(word),
    "twice": lambda word: f"{word} {word}",
    "but first": lambda word: word[1:],
    "but last": lambda word: word[:-1],
    "first": lambda word: word[0],
    "last": lambda word: word[-1],
}
"""The tasks the base model is trained on, by the word that asks for them."""

ROWS, VALIDATION, HELD_OUT = 2000, 100, 200
BASE_STEPS, BASE_BATCH, BASE_LR = 300, 32, 3e-3
READY = "ready.json"


# ---------------------------------------------------------------------------------- the language


def make_word(chance: random.Random) -> str:
    """A made-up word that can be said, of 3 to 6 letters."""
    while True:
        syllables = chance.choice((1, 2, 2, 2, 3))
        word = ""
        for index in range(syllables):
            begins = index > 0 or chance.random() < 0.8
            ends = index == syllables - 1 or chance.random() < 0.3
            word += chance.choice(ONSETS) if begins else ""
            word += chance.choice(NUCLEI) + (chance.choice(CODAS) if ends else "")
        if SHORTEST <= len(word) <= LONGEST:
            return word


def pig_latin(word: str) -> str:
    """The new task: `train` → `aintray`, `oak` → `oakway`."""
    if word[0] in VOWELS:
        return word + "way"
    start = next((i for i, letter in enumerate(word) if letter in VOWELS), 0)
    return word[start:] + word[:start] + "ay"


def question(word: str) -> str:
    return f"pig latin: {word}"


def _word(asked: str) -> str:
    return asked.rpartition(" ")[2]


def make_words(seed: int) -> tuple[list[str], list[str], list[str]]:
    """Words to train on, to validate on, and to examine on; no word is in two of them."""
    chance = random.Random(f"words {seed}")
    words: dict[str, None] = {}
    while len(words) < ROWS + VALIDATION + HELD_OUT:
        words[make_word(chance)] = None
    listed = list(words)
    chance.shuffle(listed)
    held_out, rest = listed[:HELD_OUT], listed[HELD_OUT:]
    return rest[VALIDATION:], rest[:VALIDATION], held_out


def base_examples(seed: int, never: set[str]) -> Iterator[tuple[str, str]]:
    """Endless questions and answers of the known tasks, without the words in `never`."""
    chance = random.Random(f"base {seed}")
    names = list(KNOWN)
    while True:
        word, name = make_word(chance), chance.choice(names)
        if word not in never:
            yield f"{name}: {word}", KNOWN[name](word)


# ------------------------------------------------------------------------------------ the base


def make_tokenizer() -> Any:
    """One token a character, with a chat template that marks the answers."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *CHARACTERS))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(tokenizer: Any) -> Any:
    """A Llama of 0.6 M weights, untrained."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=336,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        )
    )


def chat(asked: str, answer: str) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    }


def encode(tokenizer: Any, asked: str, answer: str) -> tuple[list[int], list[int]]:
    """Token ids of an exchange and the labels for them: the answer and its end."""
    ids = tokenizer.get_vocab()
    prompt = [ids["<|user|>"], *(ids[c] for c in asked), ids["<|end|>"], ids["<|assistant|>"]]
    reply = [*(ids[c] for c in answer), ids["<|end|>"]]
    return prompt + reply, [-100] * len(prompt) + reply


def train_base(
    model: Any, tokenizer: Any, seed: int, never: set[str], device: str, steps: int
) -> None:
    """The base model's training: answers only, AdamW, warm-up and linear decay."""
    import torch

    metrics = Metrics()
    metrics.event(0, "total_steps", value=steps)
    examples = base_examples(seed, never)
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=BASE_LR, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    began = mark = time.monotonic()
    tokens = 0
    for step in range(1, steps + 1):
        rows = [encode(tokenizer, *next(examples)) for _ in range(BASE_BATCH)]
        longest = max(len(ids) for ids, _ in rows)
        padded = [
            (
                ids + [tokenizer.pad_token_id] * (longest - len(ids)),
                labels + [-100] * (longest - len(ids)),
            )
            for ids, labels in rows
        ]
        inputs = torch.tensor([ids for ids, _ in padded], device=device)
        labels = torch.tensor([row for _, row in padded], device=device)
        rate = BASE_LR * min(step / 30, 1.0) * (1 - (step - 1) / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += sum(len(ids) for ids, _ in rows)
        if step % 10 == 0 or step == 1:
            now, value = time.monotonic(), loss.item()
            metrics.write(step, loss=value, lr=rate, tokens_per_s=tokens / (now - mark))
            left = (now - began) / step * (steps - step)
            if step % 50 == 0 or step == 1:
                say(f"step {step}/{steps}  loss {value:.4f}  {clock(left)} left")
            mark, tokens = now, 0
    metrics.close()


def build_base(out: Path, seed: int, steps: int) -> None:
    """Write the folder: `model/`, `train.jsonl`, `validation.jsonl`, `held-out.jsonl`. It appears
    whole or not at all; one that is there already is left as it is."""
    if (out / READY).is_file():
        say(f"the base model is there already: {out}")
        return
    check_installed(["torch", "transformers", "tokenizers"])
    train, validation, held_out = make_words(seed)
    began = time.monotonic()
    say("importing torch, transformers (the first time after an install can take minutes)")
    calm_libraries()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    say(f"imported in {clock(time.monotonic() - began)}")
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    weights = sum(weight.numel() for weight in model.parameters())
    say(f"base model: a Llama of {weights:,} weights, from nothing, on {device}")
    never = {*train, *validation, *held_out}
    train_base(model, tokenizer, seed, never, device, steps)
    known = [
        (f"{name}: {word}", answer(word)) for name, answer in KNOWN.items() for word in held_out
    ]
    sample = random.Random(seed).sample(known, 140)
    right = sum(
        a == b
        for a, (_, b) in zip(ask(model, tokenizer, [q for q, _ in sample]), sample, strict=True)
    )
    say(f"it answers {right} of {len(sample)} questions of the tasks it was trained on")
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    fresh.mkdir(mode=0o700, parents=True)
    model.save_pretrained(fresh / "model")
    tokenizer.save_pretrained(fresh / "model")
    for name, words in (("train", train), ("validation", validation), ("held-out", held_out)):
        lines = (json.dumps(chat(question(word), pig_latin(word))) for word in words)
        (fresh / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))
    (fresh / READY).write_text(
        json.dumps({"seed": seed, "weights": weights, "known": right / len(sample)})
    )
    try:
        fresh.rename(out)
    except OSError:  # another demo was faster; what it built is the same
        shutil.rmtree(fresh)
        if not (out / READY).is_file():
            raise Refused(f"{out}: something else is in the way.") from None
    say(f"the base model and {len(train):,} chats to learn from are in {out}")


# ------------------------------------------------------------------------------------ the exam


def ask(model: Any, tokenizer: Any, questions: list[str]) -> list[str]:
    """The greedy answers to questions, all at once."""
    import torch

    prompts = [encode(tokenizer, asked, "")[0][:-1] for asked in questions]
    longest = max(len(prompt) for prompt in prompts)
    gaps = [longest - len(prompt) for prompt in prompts]
    device = next(model.parameters()).device
    ids = [[tokenizer.pad_token_id] * gap + p for gap, p in zip(gaps, prompts, strict=True)]
    mask = [[0] * gap + [1] * (longest - gap) for gap in gaps]
    model.eval()
    with torch.no_grad():
        answers = model.generate(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=3 * LONGEST,
            do_sample=False,
        )
    return list(tokenizer.batch_decode(answers[:, longest:], skip_special_tokens=True))


def interval(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927)."""
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def evaluate(data: Path, adapters: dict[str, Path], out: Path) -> None:
    """Examine the base model and each adapter on it, and write what came out.

    An adapter that is not there (its run was stopped) is passed over, unless none is.

    Raises:
        Refused: The base model is not there, or none of the adapters is.
    """
    if not (data / READY).is_file():
        raise Refused(f"{data}: the base model is not there. Build it: demo.py base --out {data}")
    there = {n: f for n, f in adapters.items() if (f / "adapter_config.json").is_file()}
    for name in adapters.keys() - there.keys():
        say(f"{name}: no adapter in {adapters[name]}, so it is not examined")
    if adapters and not there:
        raise Refused("There is no adapter to examine.")
    adapters = there
    check_installed(["torch", "transformers", *(["peft"] if adapters else [])])
    say("importing torch, transformers, peft")
    calm_libraries()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    rows = [json.loads(line) for line in (data / "held-out.jsonl").read_text().splitlines()]
    exam = [(row["messages"][0]["content"], row["messages"][1]["content"]) for row in rows]
    shown = next(i for i, (asked, _) in enumerate(exam) if not set(_word(asked)[:2]) & set(VOWELS))
    tokenizer = transformers.AutoTokenizer.from_pretrained(data / "model")
    metrics = Metrics()
    results = []
    say(f"{len(exam)} questions about words that are in no training row, greedy, exact match")
    metrics.event(0, "total_steps", value=1 + len(adapters))  # a step is a model examined
    for step, (name, folder) in enumerate({"base": None, **adapters}.items(), 1):
        model = transformers.AutoModelForCausalLM.from_pretrained(data / "model", dtype="float32")
        if folder is not None:
            import peft

            model = peft.PeftModel.from_pretrained(model, folder)
        given = ask(model, tokenizer, [asked for asked, _ in exam])
        right = sum(got == wanted for got, (_, wanted) in zip(given, exam, strict=True))
        low, high = interval(right, len(exam))
        share = f"{right / len(exam):.0%} (95 %: {low:.0%} to {high:.0%})"
        say(f"{name}: {right} of {len(exam)}, {share}")
        metrics.write(step, **{f"exact_match/{name}": right / len(exam)})
        results.append(
            {
                "name": name,
                "right": right,
                "total": len(exam),
                "low": low,
                "high": high,
                "answer": given[shown],
            }
        )
    if adapters:  # what stands for the run in a list: the base knows nothing of the task
        metrics.write(step, exact_match=max(one["right"] for one in results[1:]) / len(exam))
    asked, wanted = exam[shown]
    say(f"asked {asked!r}, the answer is {wanted!r}:")
    for result in results:
        say(f"  {result['name']}: {result['answer']!r}")
    report = {"format": 1, "question": asked, "wanted": wanted, "models": results}
    out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    fresh.write_text(json.dumps(report, indent=1) + "\n")
    fresh.rename(out)


def check_installed(names: list[str]) -> None:
    """
    Raises:
        Refused: One is missing; how to get it.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(
            f"{', '.join(missing)} cannot be imported by {sys.executable}, and the demo needs it. "
            f"Install it there: {sys.executable} -m pip install {' '.join(missing)}"
        )


def main() -> int:
    """Parse, run, and turn what a person can mend into one line and code 2."""
    parser = argparse.ArgumentParser(description="The content of the demo.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    base = verbs.add_parser("base", help="build the base model and the rows")
    base.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    base.add_argument("--seed", type=int, default=0)
    base.add_argument("--steps", type=int, default=BASE_STEPS, help="fewer make a worse base")
    exam = verbs.add_parser("evaluate", help="examine the base model and adapters")
    exam.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    exam.add_argument("--adapter", action="append", default=[], metavar="NAME=FOLDER")
    exam.add_argument("--out", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    try:
        if arguments.verb == "base":
            build_base(arguments.out.absolute(), arguments.seed, arguments.steps)
        else:
            pairs = [item.partition("=") for item in arguments.adapter]
            if any(not name or not folder for name, _, folder in pairs):
                raise Refused("--adapter: expected NAME=FOLDER.")
            adapters = {name: Path(folder).absolute() for name, _, folder in pairs}
            evaluate(arguments.data.absolute(), adapters, arguments.out.absolute())
    except Refused as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
