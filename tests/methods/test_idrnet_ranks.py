"""The state that IDRNet's ranks learn together: exactly what one process would, or the mean of what each made of it."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from methods import registry
from methods.idrnet.deletion import Diagnosis
from methods.idrnet.options import CHOICES
from methods.segmentor import GivenFeatures

K, RANKS, PER_RANK = 4, 2, 2
STATE = ("relations.mean", "relations.variance", "deletion_counts", "memory", "row_updates")


def observations(first: int, last: int):
    """Deleted classes, their diagnosis, features and labels of images first..last; two ranks delete the same class."""
    torch.manual_seed(0)
    n = RANKS * PER_RANK
    deleted = torch.tensor([0, 2, 2, 1])
    changes, seen = torch.rand(2, n, K, dtype=torch.float64), torch.rand(2, n, K) > 0.4
    features, targets = torch.randn(n, 3, 4, 4), torch.randint(0, K - 1, (n, 8, 8))
    targets[:2][targets[:2] == 1] = 0  # class 1 is seen by the second rank alone
    part = slice(first, last)
    return deleted[part], Diagnosis(*changes[:, part], *seen[:, part]), features[part], targets[part]


def learn(reduction: str, first: int, last: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    head = registry.build("idrnet", GivenFeatures((5,)), K, channels=3, reduction=reduction).head
    deleted, diagnosis, features, targets = observations(first, last)
    with torch.no_grad():
        head._move_relations(deleted, diagnosis)
        head._learn_memory(features, targets)
    state = head.state_dict()
    return {name: state[name].clone() for name in STATE}


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    part = (rank * PER_RANK, (rank + 1) * PER_RANK)
    torch.save({reduction: learn(reduction, *part) for reduction in CHOICES["reduction"]}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(rank_main, args=(str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("reduction", CHOICES["reduction"])
def test_ranks_agree(learned, reduction):
    for name in STATE:
        assert torch.equal(learned[0][reduction][name], learned[1][reduction][name])


@pytest.mark.parametrize("name", STATE)
def test_exact_is_what_one_process_learns(learned, name):
    torch.testing.assert_close(learned[0]["exact"][name], learn("exact", 0, RANKS * PER_RANK)[name])


@pytest.mark.parametrize("name", [n for n in STATE if n != "row_updates"])
def test_averaged_is_the_mean_over_ranks(learned, name):
    """As released: every rank moves its own copy, then the copies are averaged."""
    alone = [learn("averaged", r * PER_RANK, (r + 1) * PER_RANK)[name] for r in range(RANKS)]
    torch.testing.assert_close(learned[0]["averaged"][name], torch.stack(alone).mean(dim=0))
    assert not torch.allclose(learned[0]["averaged"][name], learned[0]["exact"][name])


@pytest.mark.parametrize("name", STATE)
def test_on_one_process_there_is_nothing_to_reduce(name):
    everything = (0, RANKS * PER_RANK)
    assert torch.equal(learn("exact", *everything)[name], learn("averaged", *everything)[name])


@pytest.mark.parametrize("preset", CHOICES["preset"])
def test_both_presets_reduce_exactly_unless_told_otherwise(preset):
    """What is computed must not depend on the number of processes; the released averaging is a choice of its own."""

    def options(**chosen):
        return registry.build("idrnet", GivenFeatures((5,)), K, preset=preset, **chosen).options

    assert options().reduction == "exact"
    assert options(reduction="averaged").reduction == "averaged"


def test_deletions_are_counted_over_all_ranks(learned):
    assert learned[0]["averaged"]["row_updates"].tolist() == [1, 1, 2, 0]
