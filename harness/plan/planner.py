"""Tables × profile × repetitions → cells and the jobs that measure them, each job once however many cells show it."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness import environment
from harness.errors import UserError, nearest
from harness.jobs.job import Job
from harness.jobs.key import Code, digest, identity
from harness.jobs.kinds import (
    OWN_BACKBONE,
    ComplexityConfig,
    Data,
    EvaluateConfig,
    LatencyConfig,
    Model,
    PeerConfig,
    TrainConfig,
    kind_of,
)
from harness.jobs.outside_names import without_folder
from harness.jobs.tasks import TASKS, Task
from harness.plan.keys import KeyParts
from harness.plan.reasons import Reason
from harness.plan.settings import Settings
from harness.recipes.profile import Profile
from harness.recipes.segmentation import Recipe, TestProtocol
from harness.spec import Spec
from harness.store import weights
from harness.store.store import Store
from harness.table.cell import Cell
from harness.table.metrics import Metric
from harness.table.recipes import recipe as find_recipe
from harness.table.schema import Table
from harness.yamlfile import merge


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a table and the jobs whose measurement it shows, one per repetition.

    `state`: `run`; or `cited`, `awaits` (nothing to run), `on request` (its column is run only when named) with `reason`.
    """

    cell: Cell
    jobs: tuple[Job, ...] = ()
    state: str = "run"
    reason: str = ""

    @property
    def table(self) -> Table:
        return self.cell.table

    @property
    def row(self) -> str:
        return self.cell.row

    @property
    def column(self) -> str:
        return self.cell.column

    @property
    def metric(self) -> Metric:
        return self.cell.metric

    @property
    def name(self) -> str:
        return self.cell.name


@dataclass
class Plan:
    """Cells in table order and their jobs by key, needed ones before those that need them.

    `blocked` says why a job cannot run here: {key: reason}, and `own_reasons` the same by its parts, where it has several or
    a summary. `settings`: what the command line sets instead of a file.
    """

    profile: Profile
    repetitions: tuple[int, ...]
    cells: list[PlannedCell] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    own_reasons: dict[str, list[Reason]] = field(default_factory=dict)

    @property
    def tables(self) -> list[Table]:
        return list({cell.table.id: cell.table for cell in self.cells}.values())

    def of(self, table: Table) -> list[PlannedCell]:
        return [cell for cell in self.cells if cell.table.id == table.id]

    def cells_to_measure(self) -> list[PlannedCell]:
        """The cells that are to be measured."""
        return [cell for cell in self.cells if cell.state == "run"]

    def jobs_to_run(self, store: Store, *, keep_weights: bool = False) -> list[Job]:
        """Jobs without a result that a cell to measure shows, and the jobs that those need; dependencies first.

        A training whose weights were left out is run again where a test needs them, or, with `keep_weights`, in any case.
        """
        missing: dict[str, Job] = {}

        def visit(job: Job, *, needed: bool = False) -> None:
            has_result = job.key in missing or store.result(job) is not None
            if has_result and not (needed and job.key not in missing and weights.left_out(store.folder(job))):
                return
            for key in job.needs:
                visit(self.jobs[key], needed=True)
            missing[job.key] = job

        for cell in self.cells_to_measure():
            for job in cell.jobs:
                for key in job.needs if keep_weights else ():
                    visit(self.jobs[key], needed=True)
                visit(job)
        return list(missing.values())

    def reason(self, job: Job) -> str | None:
        """Why this job, or one that it needs, cannot run here."""
        return self.blocked.get(job.key) or next((r for k in job.needs if (r := self.reason(self.jobs[k]))), None)

    def reasons(self, job: Job) -> list[Reason]:
        """Why this job, or one that it needs, cannot run here, by its parts; empty where it can."""
        if job.key in self.blocked:
            return self.own_reasons.get(job.key) or [Reason(self.blocked[job.key])]
        return next((found for key in job.needs if (found := self.reasons(self.jobs[key]))), [])


@dataclass(frozen=True)
class Selection:
    """`--rows` and `--columns`: globs, of which a name must match one; empty means all."""

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def cells(self, table: Table) -> Iterator[Cell]:
        for cell in table.cells():
            if _match(cell.row, self.rows) and _match(cell.column, self.columns):
                yield cell

    def check(self, tables: Sequence[Table]) -> None:
        """UserError for a glob that matches nothing."""
        for axis, globs, names in (
            ("row", self.rows, [r for t in tables for r in t.rows]),
            ("column", self.columns, [c for t in tables for c in t.columns]),
        ):
            for glob in globs:
                if not fnmatch.filter(names, glob):
                    tail = nearest(glob, set(names), label=f"{axis}s are")
                    raise UserError(
                        f"--{axis}s {glob}: no {axis} of {', '.join(t.id for t in tables)} is called so.{tail}"
                    )


def _match(name: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def repetition_seed(**axes: Any) -> int:
    """A seed from the axes that are to share it: two methods on one dataset get the same seeds and can be paired."""
    return int(hashlib.sha256(digest(axes).encode()).hexdigest()[:8], 16) & 0x7FFFFFFF


@dataclass
class Planner:
    """Turns cells into jobs. `cache` remembers digests of code and data between commands; `code`: of another checkout;
    `settings`: what is set instead of the files."""

    profile: Profile
    repetitions: tuple[int, ...] = (0,)
    data_dir: Path | None = None
    cache: Path = Path("results/cache")
    device: environment.Device = field(default_factory=environment.device)
    code: Code | None = None
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self._code = self.code or Code(self.cache)
        self._keys = KeyParts(self._code, self.data_dir, self.cache)
        self._recipes: dict[tuple[str, Path, str, str], Recipe] = {}

    def plan(self, tables: Iterable[Table], selection: Selection | None = None) -> Plan:
        """The plan for these tables; raises UserError when the selection matches nothing."""
        tables, selection = self.settings.tables(list(tables)), selection or Selection()
        selection.check(tables)
        plan = Plan(self.settings.profile(self.profile), self.repetitions, settings=self.settings.texts)
        for table in tables:
            for cell in selection.cells(table):
                plan.cells.append(self._plan_cell(plan, cell, requested=bool(selection.columns)))
        self._code.save()
        return plan

    def _plan_cell(self, plan: Plan, cell: Cell, *, requested: bool) -> PlannedCell:
        if cell.cited:
            return PlannedCell(cell, (), "cited", cell.cited)
        awaits = cell.awaits or self._unlike_its_weights(cell)
        if awaits:
            return PlannedCell(cell, (), "awaits", awaits)
        if not cell.metric.trains:
            jobs: tuple[Job, ...] = (self._count_or_time(plan, cell),)
        elif cell.checkpoint is not None:
            jobs = (self._checkpoint_job(plan, cell),)
        else:
            jobs = tuple(self._repetition_job(plan, cell, repetition) for repetition in self.repetitions)
        if cell.on_request and not requested:
            return PlannedCell(cell, jobs, "on request", f"run with --columns {cell.column}")
        return PlannedCell(cell, jobs)

    def _unlike_its_weights(self, cell: Cell) -> str:
        """Why the row's weights cannot be tested under this profile; '' where they can, or where it names none."""
        changes = self.profile.model.explicit_fields() or self.profile.options.get(cell.method or "")
        if cell.checkpoint is None or not cell.metric.trains or not changes:
            return ""
        return f"profile {self.profile.name} builds another model than the one whose weights the row names"

    # ------------------------------------------------------------------------------------------------------- jobs

    def _count_or_time(self, plan: Plan, cell: Cell) -> Job:
        recipe = self._recipe(cell) if cell.recipe else None
        shapes = cell.shapes
        if shapes is None:
            assert recipe is not None
            shapes = ((1, 3, *recipe.augmentation.crop),)
        image = len(shapes) == 1 and shapes[0][1] == 3
        if not image and self.profile.features_side:
            side = self.profile.features_side
            largest = max(s[-1] for s in shapes)
            shapes = tuple((*s[:2], *(max(1, n * side // largest) for n in s[2:])) for s in shapes)
        model = self._model(cell, recipe, image=image)
        if cell.metric.kind == "complexity":
            # parameters do not depend on the convention: count them with the table's FLOPs, in one job
            conventions = [column.convention for column in cell.table.columns.values() if column.convention]
            convention = cell.convention or (conventions or ["fvcore"])[0]
            return self._job(plan, "complexity", ComplexityConfig(model=model, input=shapes, convention=convention))
        threads = f", {environment.cpus()} threads" if self.device.kind == "cpu" else ""
        repeats = {"repeats": self.profile.repeats} if self.profile.repeats else {}
        config = LatencyConfig(model=model, input=shapes, device=f"{self.device}{threads}", **repeats)
        return self._job(plan, "latency", config)

    def _repetition_job(self, plan: Plan, cell: Cell, repetition: int) -> Job:
        recipe = self._recipe(cell)
        data = Data(name=recipe.dataset, synthetic=self.profile.synthetic)
        model = self._model(cell, recipe, image=True)
        common = {
            "profile": self.profile.name,
            "seed": repetition_seed(dataset=without_folder(recipe.dataset), repetition=repetition),
        }
        # a training that tests itself does so as its recipe says, whatever the column: columns share their training
        tests_itself = recipe.evaluate_every is not None
        training_test = self._recipe(cell, as_tested=False).test if tests_itself else TestProtocol()
        train_recipe = recipe.model_copy(update={"test": training_test, "source": "", "differs": {}})
        shorten = None if self.settings.sets_length else self.profile.shorten
        config = TrainConfig(model=model, data=data, recipe=train_recipe, shorten=shorten, **common)
        task = self._task(recipe)
        train = self._job(plan, kind_of(task.train), config)
        if cell.metric.kind == "train":
            return train
        test_data = data.model_copy(update={"name": cell.tested_on or recipe.dataset})
        test_settings = {"protocol": recipe.test, "normalisation": recipe.normalisation}
        test = EvaluateConfig(model=model, data=test_data, **test_settings, **common)
        return self._job(plan, kind_of(task.evaluate), test, needs=(train,))

    def plan_peer(self, plan: Plan, planned: PlannedCell, peer: str) -> PlannedCell:
        """The same scores by another toolbox: a job in the place of each training with its test."""
        jobs = []
        for test in planned.jobs:
            train = plan.jobs[test.needs[0]].config
            common = {name: train[name] for name in ("model", "data", "recipe", "profile", "seed", "shorten")}
            config = PeerConfig(peer=peer, protocol=test.config["protocol"], **common)
            jobs.append(self._job(plan, "peer", config))
        return replace(planned, jobs=tuple(jobs))

    def _checkpoint_job(self, plan: Plan, cell: Cell) -> Job:
        """The test of a file of weights; once, however many repetitions: nothing in it is random."""
        recipe = self._recipe(cell)
        data = Data(name=cell.tested_on or recipe.dataset, synthetic=self.profile.synthetic)
        model = self._model(cell, recipe, image=True).model_copy(update={"pretrained": False})
        common = {"profile": self.profile.name, "seed": 0, "checkpoint": str(cell.checkpoint)}
        test_settings = {"protocol": recipe.test, "normalisation": recipe.normalisation}
        config = EvaluateConfig(model=model, data=data, **test_settings, **common)
        return self._job(plan, kind_of(self._task(recipe).evaluate), config)

    @staticmethod
    def _task(recipe: Recipe) -> Task:
        """The task of the recipe's dataset; the check of the recipe has made sure that it is in TASKS."""
        from harness.data import catalogue

        return TASKS[catalogue.find(recipe.dataset).task]

    def _model(self, cell: Cell, recipe: Recipe | None, *, image: bool) -> Model:
        from harness.data import catalogue

        table = cell.table
        classes = table.defaults.num_classes if recipe is None else catalogue.find(recipe.dataset).num_classes
        if classes is None:
            raise UserError(f"{table.path}: defaults.num_classes is missing: the columns without a recipe need it")
        if not image and cell.module is not None:
            return Model(kind="context", name=cell.module.name, options=cell.module.options, num_classes=classes)
        if cell.method is None:
            raise UserError(
                f"{table.path}: row '{cell.row}' names a module but no method, and column '{cell.column}' needs one"
            )
        options = _beyond_defaults(cell.method, {**cell.options, **self.profile.options.get(cell.method, {})})
        if not image:
            return Model(name=cell.method, options=options, num_classes=classes)
        defaults = table.defaults.model_dump(include={"backbone", "output_stride"}, exclude_none=True)
        weights = {"pretrained": recipe.pretrained} if recipe is not None else {}
        settings = {**defaults, **weights, **cell.model.explicit_fields(), **self.profile.model.explicit_fields()}
        if _has_own_backbone(cell.method):
            settings = {"backbone": OWN_BACKBONE, "pretrained": settings.get("pretrained", False)}
        return Model(name=cell.method, options=options, num_classes=classes, **settings)

    def _recipe(self, cell: Cell, *, as_tested: bool = True) -> Recipe:
        """The recipe of a cell, changed by the profile; `as_tested`: with what its column tests differently."""
        name, near = cell.recipe, Path(cell.table.path).parent
        assert name is not None
        changes = cell.test if as_tested else {}
        place = (name, near, cell.column if changes else "", cell.table.id if changes else "")
        if place not in self._recipes:
            recipe = find_recipe(name, near)
            recipe = recipe.model_copy(update={"test": recipe.with_test_changes(changes)}) if changes else recipe
            self._recipes[place] = self.settings.recipe(apply_profile(self.profile, recipe, name), name)
        return self._recipes[place]

    def _job(self, plan: Plan, kind: str, config: Spec, *, needs: tuple[Job, ...] = ()) -> Job:
        parts, reasons = self._keys.of(kind, config, needs)
        key, same = digest({"kind": kind, **parts}), identity(kind, config, (job.identity for job in needs))
        job = Job(kind, config.model_dump(mode="json"), key, same, parts, tuple(j.key for j in needs))
        if reasons:
            plan.blocked[job.key] = "; and ".join(reason.text.rstrip(".") for reason in reasons)
            plan.own_reasons[job.key] = reasons
        return plan.jobs.setdefault(job.key, job)


def apply_profile(profile: Profile, recipe: Recipe, name: str) -> Recipe:
    """The recipe as the profile changes it; UserError where the two do not go together."""
    if not profile.recipe:
        return recipe
    try:
        return Recipe.model_validate(merge(recipe.model_dump(), profile.recipe))
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, issue['loc'])) or 'recipe'}: {issue['msg']}" for issue in error.errors()]
        raise UserError("\n".join([f"profile '{profile.name}' does not fit recipe '{name}':", *lines])) from None


def _has_own_backbone(method: str) -> bool:
    from methods import registry

    return registry.find(method, "method").own_backbone


def _beyond_defaults(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from the method's defaults: spelling a default out makes no other job."""
    from methods import registry

    defaults = registry.find(method, "method").options or {}

    def same(name: str, value: Any) -> bool:
        default = defaults.get(name, ...)
        default = list(default) if isinstance(default, tuple) else default
        return type(value) is type(default) and value == default

    return {name: value for name, value in options.items() if not same(name, value)}
