"""The parts of a job's key: configuration, code, packages, data, weights and the jobs it needs.

The code of a job is the import closure of what runs it, of its method with all that this builds by name, of its backbone's
family, and of what reads its dataset's labels: everything that is found by name is named here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.completeness import counts_of, too_small
from harness.errors import MissingError
from harness.jobs.job import Job
from harness.jobs.key import Code, digest, package_versions
from harness.jobs.kinds import KINDS, OWN_BACKBONE, Data, Model
from harness.jobs.outside_names import without_folders
from harness.plan.reasons import Reason, no_data, no_weights
from harness.spec import Spec
from methods import pretrained

_Sources = tuple[dict[str, str], dict[str, str]]  # {module: digest}, {package: version}


@dataclass
class KeyParts:
    """Makes the parts of keys, and remembers digests of code, data and weights from one job to the next."""

    code: Code
    data_dir: Path | None
    cache: Path
    _dataset_parts: dict[str, Any] = field(default_factory=dict)
    _files: dict[Path, str] = field(default_factory=dict)
    _sources: dict[tuple[str, ...], _Sources] = field(default_factory=dict)

    def of(self, kind: str, config: Spec, needs: Sequence[Job] = ()) -> tuple[dict[str, Any], list[Reason]]:
        """(the parts of the job's key, why it cannot run here: a reason per thing that is missing)"""
        record = config.model_dump(mode="json")
        checkpoint = record.pop("checkpoint", None)  # its content is in the key, its path is not
        record.get("recipe", {}).pop("checkpoint_every", None)  # how often state is saved moves no number
        model: Model = config.model  # type: ignore[attr-defined]
        data: Data | None = getattr(config, "data", None)
        record = without_folders(record)
        parts: dict[str, Any] = {"config": record}
        reasons: list[Reason] = []
        dataset_parts = self._data(data) if data is not None else None
        code, packages = self._code(kind, config, dataset_parts)
        parts["code"] = code
        if packages:
            parts["packages"] = packages
        if data is not None and dataset_parts is not None:
            name = record["data"]["name"]
            parts["data"] = {name: dataset_parts.facts}
            reasons += [no_data(dataset_parts.missing, dataset_parts.source)] if dataset_parts.missing else []
            job = Job(kind, record, "", "", parts)
            reasons += [Reason(text)] if (text := too_small(kind, record, counts_of(job).get(name, {}))) else []
        try:
            if checkpoint is not None:
                parts["weights"] = {"checkpoint": f"absent: {checkpoint}"}
                parts["weights"] = {"checkpoint": self._file(Path(checkpoint))}
            elif model.pretrained and kind in (
                "train",
                "peer",
            ):  # a test has the training's, and nothing else needs any
                parts["weights"] = {"file": "absent"}
                parts["weights"] = self._pretrained(model)
        except MissingError as error:
            own = model.backbone == OWN_BACKBONE
            name = pretrained.own_name(model.name, model.options) if own else str(model.backbone)
            advice = pretrained.advice(name)
            reasons.append(Reason(str(error)) if checkpoint is not None else no_weights(str(error), advice))
        if needs:
            parts["needs"] = {job.kind: job.key for job in needs}
        return parts, reasons

    def _code(self, kind: str, config: Spec, dataset_parts: Any) -> _Sources:
        from methods import backbones, registry

        model: Model = config.model  # type: ignore[attr-defined]
        entries = registry.dependencies(model.name, model.options, model.kind)
        module_names = {*KINDS[kind].modules(config), *(entry.module for entry in entries)}
        outside = {entry.module: entry.file for entry in entries if not entry.module.startswith("methods.")}
        if dataset_parts is not None:
            module_names.add(dataset_parts.reader)
            outside |= {dataset_parts.reader: dataset_parts.reader_file} if dataset_parts.reader_file else {}
        family = backbones.family_of(model.backbone) if model.backbone is not None else None
        if family is not None:  # an unknown backbone is an error where the model is built
            module_names.add(family.module)
            outside |= {family.module: family.file} if not family.module.startswith("methods.") else {}
        modules = tuple(sorted(module_names - {""}))
        if modules not in self._sources:
            closure = self.code.closure(modules, outside)
            self._sources[modules] = closure, package_versions(self.code.packages(modules, outside))
        return self._sources[modules]

    def _data(self, data: Data) -> Any:
        from harness.data.key_parts import used_of

        name = digest(data.model_dump(mode="json"))
        if name not in self._dataset_parts:
            self._dataset_parts[name] = used_of(data, data_dir=self.data_dir, cache=self.cache)
        return self._dataset_parts[name]

    def _pretrained(self, model: Model) -> dict[str, str]:
        """The digest of the file that a backbone's weights come from, with timm's name of them where they are timm's.

        Raises MissingError where there is no file: a key that did not cover the weights would change with their arrival.
        """
        backbone, source = str(model.backbone), model.pretrained
        if backbone == OWN_BACKBONE and source is True:
            return {"file": self._file(pretrained.own_file(model.name, model.options))}
        file = pretrained.offline(backbone) if source is True else Path(str(source)).expanduser()
        if file is not None:
            return {"file": self._file(file)}
        weights = pretrained.timm_weights(backbone)
        if weights is None:
            raise MissingError(pretrained.unpublished(backbone) or pretrained.untagged(backbone))
        cached = pretrained.cached(weights)
        if cached is None:
            raise MissingError(pretrained.not_downloaded(backbone, weights))
        return {"timm": weights, "sha256": self._file(cached)}

    def _file(self, path: Path) -> str:
        if path not in self._files:
            try:
                with path.open("rb") as file:
                    self._files[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise MissingError(f"weights {path}: {error.strerror}") from error
        return self._files[path]
