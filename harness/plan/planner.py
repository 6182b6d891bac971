"""Tables × profile × repetitions → cells and the jobs that measure them, each job once however many cells show it."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness import environment
from harness.errors import MissingError, UserError, nearest
from harness.jobs.job import Job
from harness.jobs.key import Code, digest, identity
from harness.jobs.kinds import KINDS, ComplexityConfig, Data, EvaluateConfig, LatencyConfig, Model, TrainConfig
from harness.recipes.profile import Profile
from harness.recipes.segmentation import Recipe, TestProtocol
from harness.spec import Spec
from harness.store.store import Store
from harness.table.metrics import Metric
from harness.table.recipes import recipe as find_recipe
from harness.table.schema import Table
from harness.yamlfile import merge
from methods import pretrained


@dataclass(frozen=True)
class Cell:
    """One cell of a table and the jobs whose measurement it shows, one per repetition.

    `state`: `run`; or `cited`, `awaits` (no method yet), `on request` (its column is run only when named) with `reason`.
    """

    table: Table
    row: str
    column: str
    state: str = "run"
    reason: str = ""
    jobs: tuple[Job, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.table.id}/{self.row}/{self.column}"

    @property
    def metric(self) -> Metric:
        return self.table.metric_of(self.column)


@dataclass
class Plan:
    """Cells in table order and their jobs by key, needed ones before those that need them.

    `blocked` says why a job cannot run here: {key: reason}.
    """

    profile: Profile
    repetitions: tuple[int, ...]
    cells: list[Cell] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> list[Table]:
        return list({cell.table.id: cell.table for cell in self.cells}.values())

    def of(self, table: Table) -> list[Cell]:
        return [cell for cell in self.cells if cell.table.id == table.id]

    def wanted(self) -> list[Cell]:
        """The cells that are to be measured."""
        return [cell for cell in self.cells if cell.state == "run"]

    def pending(self, store: Store) -> list[Job]:
        """Jobs without a result that a wanted cell shows or that such a job needs; needed ones first."""
        missing: dict[str, Job] = {}

        def visit(job: Job) -> None:
            if job.key in missing or store.result(job) is not None:
                return
            for key in job.needs:
                visit(self.jobs[key])
            missing[job.key] = job

        for cell in self.wanted():
            for job in cell.jobs:
                visit(job)
        return list(missing.values())

    def reason(self, job: Job) -> str | None:
        """Why this job, or one that it needs, cannot run here."""
        return self.blocked.get(job.key) or next((r for k in job.needs if (r := self.reason(self.jobs[k]))), None)


@dataclass(frozen=True)
class Selection:
    """`--rows` and `--columns`: globs, of which a name must match one; empty means all."""

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def keys(self, table: Table) -> Iterator[tuple[str, str]]:
        for row, column in table.cells():
            if _match(row, self.rows) and _match(column, self.columns):
                yield row, column

    def check(self, tables: Sequence[Table]) -> None:
        """UserError for a glob that matches nothing."""
        for what, globs, names in (
            ("row", self.rows, [r for t in tables for r in t.rows]),
            ("column", self.columns, [c for t in tables for c in t.columns]),
        ):
            for glob in globs:
                if not fnmatch.filter(names, glob):
                    tail = nearest(glob, set(names), what=f"{what}s are")
                    raise UserError(
                        f"--{what}s {glob}: no {what} of {', '.join(t.id for t in tables)} is called so.{tail}"
                    )


def _match(name: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def repetition_seed(**axes: Any) -> int:
    """A seed from the axes that are to share it: two methods on one dataset get the same seeds and can be paired."""
    return int(hashlib.sha256(digest(axes).encode()).hexdigest()[:8], 16) & 0x7FFFFFFF


@dataclass
class Planner:
    """Turns cells into jobs. `cache` remembers digests of code and data between commands; `code`: of another checkout."""

    profile: Profile
    repetitions: tuple[int, ...] = (0,)
    data_dir: Path | None = None
    cache: Path = Path("results/cache")
    device: environment.Device = field(default_factory=environment.device)
    code: Code | None = None

    def __post_init__(self) -> None:
        self._code = self.code or Code(self.cache)
        self._digests: dict[str, str] = {}
        self._recipes: dict[tuple[str, Path, str, str], Recipe] = {}
        self._files: dict[Path, str] = {}
        self._closures: dict[tuple[str, ...], dict[str, str]] = {}

    def plan(self, tables: Iterable[Table], selection: Selection | None = None) -> Plan:
        """The plan for these tables; raises UserError when the selection matches nothing."""
        tables, selection = list(tables), selection or Selection()
        selection.check(tables)
        plan = Plan(self.profile, self.repetitions)
        for table in tables:
            for row, column in selection.keys(table):
                plan.cells.append(self._cell(plan, table, row, column, asked=bool(selection.columns)))
        self._code.save()
        return plan

    def _cell(self, plan: Plan, table: Table, row_key: str, column_key: str, *, asked: bool) -> Cell:
        row, column = table.rows[row_key], table.columns[column_key]
        metric = table.metric_of(column_key)
        if row.cited is not None:
            return Cell(table, row_key, column_key, "cited", row.cited)
        awaits = self._awaits(table, row_key, column_key)
        if awaits:
            return Cell(table, row_key, column_key, "awaits", awaits)
        if metric.kind in ("complexity", "latency"):
            jobs = (self._count_or_time(plan, table, row_key, column_key),)
        elif table.checkpoint_of(row_key, column_key) is not None:
            jobs = (self._given(plan, table, row_key, column_key),)
        else:
            jobs = tuple(self._trained(plan, table, row_key, column_key, r) for r in self.repetitions)
        if column.on_request and not asked:
            return Cell(table, row_key, column_key, "on request", f"run with --columns {column_key}", jobs)
        return Cell(table, row_key, column_key, jobs=jobs)

    def _awaits(self, table: Table, row_key: str, column_key: str) -> str:
        """Why there is nothing to run in a cell; '' where there is."""
        row, kind = table.rows[row_key], table.metric_of(column_key).kind
        cell = row.cells.get(column_key)
        reason = row.awaits or (cell.awaits if cell is not None else None)
        if reason:
            return reason
        if kind not in ("train", "evaluate"):
            return ""
        if row.method is None:
            return "the row names a module to count and no method to train"
        if table.checkpoint_of(row_key, column_key) is None:
            return ""
        if kind == "train":
            return "the row tests given weights and trains nothing"
        if self.profile.model.explicit_fields():
            return f"profile {self.profile.name} builds another model than the one whose weights the row names"
        return ""

    # ------------------------------------------------------------------------------------------------------- jobs

    def _count_or_time(self, plan: Plan, table: Table, row: str, column_key: str) -> Job:
        shapes = table.input_of(column_key, row)
        metric = table.metric_of(column_key)
        recipe = self._recipe(table, row, column_key) if table.recipe_of(column_key, row) else None
        if shapes is None:
            assert recipe is not None
            shapes = ((1, 3, *recipe.augmentation.crop),)
        image = len(shapes) == 1 and shapes[0][1] == 3
        if not image and self.profile.features_side:
            side = self.profile.features_side
            largest = max(s[-1] for s in shapes)
            shapes = tuple((*s[:2], *(max(1, n * side // largest) for n in s[2:])) for s in shapes)
        model = self._model(table, row, column_key, recipe, image=image)
        if metric.kind == "complexity":
            # parameters do not depend on the convention: count them with the table's FLOPs, in one job
            named = [found for c in table.columns if (found := table.convention_of(c, row))]
            convention = table.convention_of(column_key, row) or (named or ["fvcore"])[0]
            return self._job(plan, "complexity", ComplexityConfig(model=model, input=shapes, convention=convention))
        threads = f", {environment.cpus()} threads" if self.device.kind == "cpu" else ""
        repeats = {"repeats": self.profile.repeats} if self.profile.repeats else {}
        config = LatencyConfig(model=model, input=shapes, device=f"{self.device}{threads}", **repeats)
        return self._job(plan, "latency", config)

    def _trained(self, plan: Plan, table: Table, row: str, column_key: str, repetition: int) -> Job:
        recipe = self._recipe(table, row, column_key)
        data = Data(name=recipe.dataset, synthetic=self.profile.synthetic)
        model = self._model(table, row, column_key, recipe, image=True)
        common = {"profile": self.profile.name, "seed": repetition_seed(dataset=recipe.dataset, repetition=repetition)}
        # a training that tests itself does so as its recipe says, whatever the column: columns share their training
        tests_itself = recipe.evaluate_every is not None
        own = self._recipe(table, row, column_key, as_tested=False).test if tests_itself else TestProtocol()
        train_recipe = recipe.model_copy(update={"test": own, "source": "", "differs": {}})
        config = TrainConfig(model=model, data=data, recipe=train_recipe, shorten=self.profile.shorten, **common)
        train = self._job(plan, "train", config, data=data)
        if table.metric_of(column_key).kind == "train":
            return train
        tested = data.model_copy(update={"name": table.columns[column_key].tested_on or recipe.dataset})
        given = {"protocol": recipe.test, "normalisation": recipe.normalisation}
        test = EvaluateConfig(model=model, data=tested, **given, **common)
        return self._job(plan, "evaluate", test, data=tested, needs=(train,))

    def _given(self, plan: Plan, table: Table, row: str, column: str) -> Job:
        """The test of a file of weights; once, however many repetitions: nothing in it is random."""
        recipe = self._recipe(table, row, column)
        data = Data(name=table.columns[column].tested_on or recipe.dataset, synthetic=self.profile.synthetic)
        model = self._model(table, row, column, recipe, image=True).model_copy(update={"pretrained": False})
        file = str(table.checkpoint_of(row, column))
        common = {"profile": self.profile.name, "seed": 0, "checkpoint": file}
        given = {"protocol": recipe.test, "normalisation": recipe.normalisation}
        config = EvaluateConfig(model=model, data=data, **given, **common)
        return self._job(plan, "evaluate", config, data=data)

    def _model(self, table: Table, row_key: str, column: str, recipe: Recipe | None, *, image: bool) -> Model:
        from harness.data import catalog

        row = table.rows[row_key]
        classes = table.defaults.num_classes if recipe is None else catalog.find(recipe.dataset).num_classes
        if classes is None:
            raise UserError(f"{table.path}: defaults.num_classes is missing: the columns without a recipe need it")
        if not image and row.module is not None:
            return Model(kind="context", name=row.module.name, options=row.module.options, num_classes=classes)
        if row.method is None:
            raise UserError(
                f"{table.path}: row '{row_key}' names a module but no method, and column '{column}' needs one"
            )
        options = _beyond_defaults(row.method.name, table.options_of(row_key, column))
        if not image:
            return Model(name=row.method.name, options=options, num_classes=classes)
        defaults = table.defaults.model_dump(include={"backbone", "output_stride"}, exclude_none=True)
        weights = {"pretrained": recipe.pretrained} if recipe is not None else {}
        given = {**defaults, **weights, **row.model.explicit_fields(), **self.profile.model.explicit_fields()}
        return Model(name=row.method.name, options=options, num_classes=classes, **given)

    def _recipe(self, table: Table, row: str, column: str, *, as_tested: bool = True) -> Recipe:
        """The recipe of a cell, changed by the profile; `as_tested`: with what its column tests differently."""
        name, near = table.recipe_of(column, row), Path(table.path).parent
        assert name is not None
        changes = table.columns[column].test if as_tested else {}
        place = (name, near, column if changes else "", table.id if changes else "")
        if place not in self._recipes:
            found = find_recipe(name, near)
            found = found.model_copy(update={"test": found.with_test_changes(changes)}) if changes else found
            self._recipes[place] = apply_profile(self.profile, found, name)
        return self._recipes[place]

    def _job(
        self, plan: Plan, kind: str, config: Spec, *, data: Data | None = None, needs: tuple[Job, ...] = ()
    ) -> Job:
        record = config.model_dump(mode="json")
        model: Model = config.model  # type: ignore[attr-defined]
        checkpoint = record.get("checkpoint")
        keyed = {k: v for k, v in record.items() if k != "checkpoint"}
        parts: dict[str, Any] = {"config": keyed, "code": self._closure(kind, config)}
        blocked: list[str] = []
        if data is not None:
            try:
                parts["data"] = {data.name: self._data_digest(data)}
            except MissingError as error:
                blocked.append(str(error))
                parts["data"] = {data.name: "absent"}
        if checkpoint is not None:
            try:
                parts["weights"] = {"checkpoint": self._file_digest(Path(checkpoint))}
            except MissingError as error:
                blocked.append(str(error))
                parts["weights"] = {"checkpoint": f"absent: {checkpoint}"}
        elif model.pretrained and kind == "train":  # a test has the training's, and nothing else needs any
            try:
                parts["weights"] = self._pretrained(str(model.backbone), model.pretrained)
            except MissingError as error:
                blocked.append(f"{error}. {pretrained.advice(str(model.backbone))}")
                parts["weights"] = {"file": "absent"}
        if needs:
            parts["needs"] = {job.kind: job.key for job in needs}
        key, same = digest({"kind": kind, **parts}), identity(kind, config, (job.identity for job in needs))
        job = Job(kind, record, key, same, parts, tuple(j.key for j in needs))
        if blocked:
            plan.blocked[job.key] = "; and ".join(blocked)
        return plan.jobs.setdefault(job.key, job)

    def _pretrained(self, backbone: str, told: bool | str) -> dict[str, str]:
        """The digest of the file that a backbone's weights come from; only timm's name of what it would download."""
        file = pretrained.offline(backbone) if told is True else Path(str(told)).expanduser()
        return {"timm": backbone} if file is None else {"file": self._file_digest(file)}

    def _file_digest(self, path: Path) -> str:
        if path not in self._files:
            self._files[path] = _file_digest(path)
        return self._files[path]

    def _closure(self, kind: str, config: Spec) -> dict[str, str]:
        from methods import registry

        model: Model = config.model  # type: ignore[attr-defined]
        entries = registry.dependencies(model.name, model.options, model.kind)
        modules = tuple(sorted({*KINDS[kind].modules(config), *(e.module for e in entries)}))
        if modules not in self._closures:
            outside = {e.module: e.file for e in entries if not e.module.startswith("methods.")}
            self._closures[modules] = self._code.closure(modules, outside)
        return self._closures[modules]

    def _data_digest(self, data: Data) -> str:
        from harness.data import files

        name = digest(data.model_dump(mode="json"))
        if name not in self._digests:
            self._digests[name] = files.digest(data, data_dir=self.data_dir, cache=self.cache)
        return self._digests[name]


def apply_profile(profile: Profile, recipe: Recipe, name: str) -> Recipe:
    """The recipe as the profile changes it; UserError where the two do not go together."""
    if not profile.recipe:
        return recipe
    try:
        return Recipe.model_validate(merge(recipe.model_dump(), profile.recipe))
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, issue['loc'])) or 'recipe'}: {issue['msg']}" for issue in error.errors()]
        raise UserError("\n".join([f"profile '{profile.name}' does not fit recipe '{name}':", *lines])) from None


def _beyond_defaults(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from the method's defaults: spelling a default out makes no other job."""
    from methods import registry

    defaults = registry.find(method, "method").options or {}

    def same(name: str, value: Any) -> bool:
        default = defaults.get(name, ...)
        default = list(default) if isinstance(default, tuple) else default
        return type(value) is type(default) and value == default

    return {name: value for name, value in options.items() if not same(name, value)}


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingError(f"weights {path}: {error.strerror}") from error
