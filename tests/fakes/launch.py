"""The fake world with what the Launch and Settings screens ask of it: the real checks and recipes,
but plans made by hand, so that every picture is the same, and launches that only add a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes.runs import NOW, FakeServices, make_run, small_world

from traindeck.backends.base import (
    ArrayTask,
    BackendError,
    Blob,
    Code,
    Health,
    Limits,
    Option,
    Plan,
    Reach,
    Resources,
    RunSpec,
    State,
    TraindeckError,
    UsageError,
    plan_digest,
    read_indices,
    task_id,
)
from traindeck.console.runs.drafting import Draft, Drafted, Ground, draft_of, read_fields
from traindeck.console.runs.paths import rest_in
from traindeck.console.runs.placing import Found
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.services import Place


class FakeLaunchServices(FakeServices):
    """A world in which things can be launched.

    Attributes:
        specs: Run id -> what it was made from.
        refusal: Raised by `launch` if set.
        launched: Plans that were sent.
        saved: Recipes that were kept: name -> draft.
        warnings: Of every plan.
        options: Of every backend but `local`; `offers`: what these can be there.
        arrays: Backends that have job arrays.
        kinds: Of all places, by name; else all are of processes.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.specs: dict[str, RunSpec] = {}
        self.refusal: TraindeckError | None = None
        self.there: list[Found] = []
        self.said: dict[str, str] = {}
        self.launched: list[Plan] = []
        self.saved: dict[str, Draft] = {}
        self.warnings: tuple[str, ...] = ()
        self.options: Mapping[str, Option] = {}
        self.offers: Mapping[str, tuple[str, ...]] = {}
        self.schedulers: frozenset[str] = frozenset()
        self.kinds: dict[str, str] = {}

    async def ground(self) -> Ground:
        await self._pause("ground")
        backends = self.kinds or {place.name: "process" for place in self._places}
        return Ground(
            recipes=("sft",),
            backends=backends,
            options={name: self.options for name in backends if name != "local"},
            schedulers=self.schedulers,
            cwd="/home/user1/project",
        )

    async def like(self, run_id: str) -> Draft:
        await self._pause("like", run_id)
        if run_id not in self.specs:
            raise BackendError("The directory of this run is gone.")
        return draft_of(self.specs[run_id], "local", {})

    async def check(self, draft: Draft) -> Drafted:
        await self._pause("check", draft)
        options, problems = read_fields(replace(draft, fields={**draft.fields, "cwd": ""}))
        form = recipe = None
        if draft.recipe:
            from traindeck.console.recipes.describing import form as make_form
            from traindeck.console.recipes.reading import from_run, load

            recipe = load(draft.recipe)
            if draft.like:
                saved = self.specs[draft.like].recipe or {}
                recipe = from_run(saved, f"run {self.specs[draft.like].name}")
            form = make_form(recipe, draft.values, preset=draft.preset)
            problems |= dict(form.problems or {})
        if problems:
            return Drafted(problems=problems, form=form, recipe=recipe, offers=self.offers)
        files = {}
        argv = options["argv"]
        if form is not None and form.resolved is not None:
            argv = ("/home/user1/env/bin/python3", "plan/sft.py", "--recipe", "plan/recipe.json")
            files = {
                "plan/sft.py": Blob(digest="5f0e" * 16, size=21_400),
                "plan/recipe.json": Blob(digest="a3c1" * 16, size=1_480),
            }
        spec = RunSpec(
            run_id="0kzzv8c4m2qe",
            name=options["name"] or draft.made_name or "calm-fox",
            argv=argv,
            cwd=draft.text("cwd") or "/home/user1/project",
            env=options["env"],
            secrets=options["secrets"],
            tags=options["tags"],
            resources=Resources(gpus=options["gpus"]),
            limits=Limits(
                time=options["time"], grace=options["grace"] or 10.0, retries=options["retries"]
            ),
            on_exit=options["on_exit"],
            code=Code(mode="here", root="/home/user1/project", commit="3f9ac1e" * 5, dirty=True,
                      branch="main"),
            python="/home/user1/env/bin/python3",
            python_version="3.12.4",
            packages=143,
            host="box",
            driver="560.35.03",
            env_names=("HOME", "LANG", "USER"),
            files=files,
            created=self.now,
        )  # fmt: skip
        plan = Plan(
            backend=draft.on,
            spec=spec,
            argv=argv,
            env={**spec.env, "PYTHONUNBUFFERED": "1"},
            files=files,
            warnings=self.warnings,
            digest=_digest(draft),
        )
        array: tuple[Plan, ...] = ()
        if draft.on in self.schedulers and (indices := draft.text("array")):
            array = tuple(_task(plan, n, indices) for n in read_indices(indices).numbers)
            plan = array[0]
        return Drafted(plan=plan, array=array, form=form, recipe=recipe, offers=self.offers)

    async def path_rest(self, draft: Draft, key: str, text: str) -> str:
        await self._pause("path_rest", text)
        return await rest_in(draft, key, text)

    async def launch(self, plan: Plan) -> RunRecord:
        await self._pause("launch", plan)
        if self.refusal is not None:
            raise self.refusal
        self.launched.append(plan)
        run = make_run(95, plan.spec.name, State.STARTING, age=0)
        self.add(run)
        return run

    async def launch_array(self, plans: Sequence[Plan]) -> Sequence[RunRecord]:
        await self._pause("launch_array", plans)
        self.launched += plans
        runs = [
            make_run(95 + n, plan.spec.name, State.QUEUED, age=0, backend=plan.backend)
            for n, plan in enumerate(plans)
        ]
        for run in runs:
            self.add(run)
        return runs

    async def save_recipe(self, draft: Draft, name: str) -> Path:
        await self._pause("save_recipe", name)
        if name in self.saved:
            raise UsageError(f"There is a recipe {name} already.", "Choose another name.")
        self.saved[name] = draft
        return Path(f"/home/user1/.config/traindeck/recipes/{name}.yaml")

    async def probe(self, backend: str, *, asked: bool = False) -> Health:
        await self._pause("probe", (backend, asked))
        place = next(place for place in self._places if place.name == backend)
        up = place.reach is Reach.OK
        checks = ((True, "the agent answers, 3.11.9"), (True, "runs lie in /home/user1/.traindeck"))
        return Health(
            reach=place.reach,
            observed_at=self.now,
            checks=checks if up else ((False, self.said.get(backend, "no answer within 5 s")),),
        )

    async def found(self) -> Sequence[Found]:
        await self._pause("found")
        return self.there

    async def probe_found(self, found: Found) -> Health:
        await self._pause("probe_found", found)
        return Health(
            observed_at=self.now, checks=((True, f"{found.host} answers, Python 3.11.9"),)
        )

    async def add_found(self, found: Found) -> str:
        await self._pause("add_found", found)
        if self.refusal is not None:
            raise self.refusal
        self.there = [each for each in self.there if each != found]
        return found.host

    async def settings_changed(self) -> None:
        await self._pause("settings_changed")


def _digest(draft: Draft) -> str:
    import hashlib

    text = repr((draft.recipe, sorted(draft.values.items()), sorted(draft.fields.items())))
    return hashlib.sha256(f"{text}{draft.on}{draft.preset}".encode()).hexdigest()


def _task(plan: Plan, index: int, indices: str) -> Plan:
    spec = plan.spec
    mine = replace(
        spec,
        run_id=task_id(spec.run_id[:8], index),
        name=f"{spec.name}-{index}",
        array=ArrayTask(index=index, indices=indices),
    )
    return replace(plan, spec=mine, digest=plan_digest(replace(plan, spec=mine)))


def launch_services(now: float = NOW) -> FakeLaunchServices:
    """The small world, ready to launch: two places, runs to launch again."""
    runs = small_world(now)
    services = FakeLaunchServices(
        runs,
        now=now,
        places=(
            Place(name="local", seen_at=now),
            Place(name="gpu2", reach=Reach.DOWN, seen_at=now - 360, note="no answer for 6 min"),
        ),
    )
    command, trained = runs[0], runs[4]
    services.specs[command.id] = RunSpec(
        run_id=command.id,
        name=command.name,
        argv=("python", "train.py", "--config", "big model.yaml", "--lr", "3e-4"),
        cwd="/home/user1/nanogpt",
        env={"WANDB_MODE": "offline", "PATH": "/usr/bin"},
        secrets=("HF_TOKEN",),
        tags={"sft": "", "lr": "3e-4"},
        limits=Limits(time=7200.0, retries=1),
    )
    services.specs[trained.id] = RunSpec(
        run_id=trained.id,
        name=trained.name,
        argv=("/home/user1/env/bin/python3", "plan/sft.py", "--recipe", "plan/recipe.json"),
        cwd="/home/user1/project",
        recipe={
            "recipe": "sft",
            "values": {"model": "models/llama-1b", "data": "chats.jsonl", "lr": 1e-4, "batch": 4},
        },
        tags=dict(trained.tags),
    )
    return services
