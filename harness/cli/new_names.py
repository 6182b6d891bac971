"""Names that `new` writes into a file, looked up before it is written."""

from __future__ import annotations

from pathlib import Path


def check_table_names(file: Path, *, recipe: str | None, method: str | None, backbone: str | None) -> None:
    """UserError, with the nearest name, where a new table would name what is not there; paths count from its folder."""
    from harness.jobs.outside_names import located
    from harness.table import recipes
    from methods import backbones, registry

    if recipe is not None:
        recipes.recipe(recipe, file.parent)
    if method is not None:
        registry.find(located(method, file.parent))
    if backbone is not None:
        backbones.find(located(backbone, file.parent))


def check_dataset(file: Path, dataset: str | None) -> None:
    """UserError, with the nearest name, where a new recipe would name a dataset that is not there. Its path counts from the
    tables that use the recipe: beside the folder `recipes`."""
    from harness.data import catalogue
    from harness.table.recipes import dataset_name

    if dataset is not None:
        near = file.parent.parent if file.parent.name == "recipes" else file.parent
        catalogue.find(dataset_name(dataset, near))
