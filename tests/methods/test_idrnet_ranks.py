"""The state that IDRNet's processes learn together depends on the configuration and not on their number, in any bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from harness.training import distributed
from methods import registry
from methods.idrnet.copies import average_copies_, images_of_processes
from methods.idrnet.deletion import Diagnosis
from methods.idrnet.memory import class_sums, update_memory_
from methods.idrnet.options import CHOICES
from methods.idrnet.relations import update_rows_
from methods.segmentor import GivenFeatures
from tests.support.idrnet_released_state import ReleasedState
from tests.support.ranks import run_ranks

pytestmark = pytest.mark.slow  # several processes

K, IMAGES, PROCESSES, STEPS = 6, 16, 8, 3
STATE = ("relations.mean", "relations.variance", "deletion_counts", "memory", "row_updates")
CASES = {"exact": {"reduction": "exact"}, "released": {"reduction": "released", "processes": PROCESSES}}


def observations(step: int, part: slice):
    """Deleted classes, their diagnosis, features and labels of some of a batch's images."""
    draw = torch.Generator().manual_seed(step)
    deleted = torch.randint(0, 3, (IMAGES,), generator=draw)  # several processes delete the same class
    changes = torch.rand(2, IMAGES, K, dtype=torch.float64, generator=draw)
    seen = torch.rand(2, IMAGES, K, generator=draw) > 0.4
    features = torch.randn(IMAGES, 3, 4, 4, generator=draw)
    targets = torch.randint(0, K - 1, (IMAGES, 8, 8), generator=draw)
    targets[2:][targets[2:] == 1] = 0  # class 1 is seen by the first process alone
    return deleted[part], Diagnosis(*changes[:, part], *seen[:, part]), features[part], targets[part]


def head_of(**options) -> torch.nn.Module:
    torch.manual_seed(1)
    return registry.build("idrnet", GivenFeatures((5,)), K, channels=3, **options).head


def learn(part: slice, **options) -> dict[str, torch.Tensor]:
    head = head_of(**options)
    present = torch.ones(IMAGES, K, dtype=torch.bool)[part]
    torch.manual_seed(2)
    with torch.no_grad():
        for step in range(STEPS):
            deleted, diagnosis, features, targets = observations(step, part)
            head._move_relations(deleted, diagnosis)
            head._learn_memory(features, targets)
        drawn = head._draw_deletions(present)
    return {name: head.state_dict()[name].clone() for name in STATE} | {"drawn": drawn}


def learn_apart(part: slice) -> dict[str, torch.Tensor]:
    """One of really several processes: it moves its own copy by its own images, and the copies are added in turn."""
    head = head_of(reduction="exact")
    own = {name: head.state_dict()[name].clone() for name in STATE[:4]}
    for step in range(STEPS):
        deleted, diagnosis, features, targets = observations(step, part)
        update_rows_(own["relations.mean"], deleted, diagnosis.mean, diagnosis.seen_mean, 0.1)
        update_rows_(own["relations.variance"], deleted, diagnosis.variance, diagnosis.seen_variance, 0.1)
        own["deletion_counts"] += torch.bincount(deleted, minlength=K)
        sums, counts = class_sums(features, targets, K)
        update_memory_(own["memory"], sums.sum(dim=0), counts.sum(dim=0), 0.1)
        for state in own.values():
            copies = [torch.empty_like(state) for _ in range(PROCESSES)]
            dist.all_gather(copies, state)
            average_copies_(state, copies)
    return own


def learn_as_released(part: slice) -> dict[str, torch.Tensor]:
    """The released code's way, class by class, with the network's own all-reduce."""
    state = ReleasedState(head_of(reduction="exact"))
    for step in range(STEPS):
        state.move(*observations(step, part))
    return state.named()


def rank_main(folder: Path) -> None:
    with distributed.process_group("cpu") as me:
        part = images_of_processes(IMAGES, me.world)[me.rank]
        learned = {case: learn(part, **options) for case, options in CASES.items()}
        if me.world == PROCESSES:
            learned |= {"apart": learn_apart(part), "loops": learn_as_released(part)}
        torch.save(learned, folder / f"{me.world}-{me.rank}.pt")


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """{number of processes: what each of them has learned}"""
    folder = tmp_path_factory.mktemp("ranks")
    found = {}
    for world in (2, PROCESSES):
        run_ranks(rank_main, world, folder)
        found[world] = [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("world", [2, PROCESSES])
def test_the_state_has_the_same_bits_on_any_number_of_processes(learned, case, world):
    alone = learn(slice(0, IMAGES), **CASES[case])
    for mine in learned[world]:
        for name in STATE:
            assert torch.equal(mine[case][name], alone[name]), name
    assert torch.equal(torch.cat([mine[case]["drawn"] for mine in learned[world]]), alone["drawn"])


@pytest.mark.parametrize("name", [name for name in STATE if name != "row_updates"])
def test_released_is_what_eight_real_processes_make_of_it(learned, name):
    """Bit for bit what eight copies on eight processes become; and what loops and an all-reduce make, up to rounding."""
    alone = learn(slice(0, IMAGES), **CASES["released"])
    for mine in learned[PROCESSES]:
        assert torch.equal(mine["apart"][name], alone[name])
        torch.testing.assert_close(mine["loops"][name], alone[name], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(alone[name], learn(slice(0, IMAGES), **CASES["exact"])[name])


def test_deletions_are_counted_over_all_processes(learned):
    deleted = torch.cat([observations(step, slice(0, IMAGES))[0] for step in range(STEPS)])
    counted = torch.bincount(deleted, minlength=K)
    for mine in learned[PROCESSES]:
        assert torch.equal(mine["released"]["row_updates"], counted)
        torch.testing.assert_close(mine["released"]["deletion_counts"], counted / PROCESSES, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", STATE)
def test_with_one_process_there_is_nothing_to_average(name):
    everything = slice(0, IMAGES)
    assert torch.equal(learn(everything, reduction="exact")[name], learn(everything, processes=1)[name])


def test_the_presets_choose_their_side_and_the_configuration_says_how_many():
    def options(**chosen):
        return registry.build("idrnet", GivenFeatures((5,)), K, **chosen).options

    assert (options().reduction, options().processes) == ("released", 8)
    assert options(preset="paper").reduction == "exact"
    assert options(preset="paper", reduction="released", processes=4).processes == 4
    assert set(CHOICES["reduction"]) == set(CASES)


@pytest.mark.parametrize("images", [1, 2, 5, 8, 16, 19])
def test_every_image_belongs_to_one_process(images):
    parts = images_of_processes(images, PROCESSES)
    assert [i for part in parts for i in range(images)[part]] == list(range(images))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_process_without_an_image_keeps_its_copy():
    """Two images, eight processes: two copies move and the mean goes two eighths of the way."""
    head = head_of(**CASES["released"])
    one = Diagnosis(*torch.ones(2, 2, K), *torch.ones(2, 2, K, dtype=torch.bool))
    with torch.no_grad():
        head._move_relations(torch.tensor([4, 4]), one)
    moved = torch.eye(K)[4] + 2 / 8 * 0.1 * (1 - torch.eye(K)[4])
    torch.testing.assert_close(head.relations.mean[4], moved)
