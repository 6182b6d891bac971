"""Fixtures: small synthetic copies of datasets."""

from tests.support.scenes import cache, own_root, synthetic_root  # noqa: F401  (fixtures)
