from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters import pins
from adapters.aliases import NOWHERE, Move
from adapters.base_facts import BaseFacts
from adapters.errors import (
    AdapterError,
    AliasMovedError,
    InvalidNameError,
    InvalidTagError,
    SupersededJobError,
    UnknownAdapterError,
    UnknownVersionError,
)
from adapters.lineage import lineage
from adapters.publication import Submission, publish, publish_checkpoint
from adapters.reference import Reference
from adapters.registry import Registry
from adapters.retention import Retention, prune, set_keep
from adapters.search import MetricCondition, Search, find
from adapters.tags import set_tags
from adapters.version import Change, Version

NOBODY = Change()
Add = Callable[..., Version]


@pytest.fixture
def add(registry: Registry, variant: Callable[[int], Path], base: BaseFacts) -> Add:
    """Publishes the adapter of a seed; with a step, as a job's checkpoint."""

    def publish_variant(seed: int, *, name: str = "support", step: int | None = None, **told: object) -> Version:
        submission = Submission(tenant="t", name=name, folder=variant(seed), source="train", **told)  # type: ignore[arg-type]
        if step is None:
            return publish(registry, submission, base)
        return publish_checkpoint(registry, submission, base, step)

    return publish_variant


def numbers(registry: Registry) -> list[int | None]:
    return [version.number for version in registry.versions("t", "support")]


def steps(registry: Registry) -> list[int | None]:
    return [version.checkpoint_step for version in registry.checkpoints("t", "support")]


def test_one_job_publishes_one_version(registry: Registry, add: Add) -> None:
    first = add(0, job_id="ftjob-1")

    assert add(1, job_id="ftjob-1") == first
    assert add(1, job_id="ftjob-2").number == 2
    assert first.job_id == "ftjob-1"
    assert registry.sweep(0) >= 0
    assert registry.check_integrity() == []


def test_of_many_who_promote_at_once_one_gets_through(registry: Registry, add: Add) -> None:
    for seed in range(3):
        add(seed)
    registry.promote("t", "support", [Move(alias="prod", number=1, expected=NOWHERE)])

    def try_to(number: int) -> bool:
        try:
            registry.promote("t", "support", [Move(alias="prod", number=number, expected=1)])
        except AliasMovedError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        through = list(threads.map(try_to, [2, 3, 2, 3]))

    assert through.count(True) == 1
    assert [event.kind for event in registry.history("t", "support", alias="prod")] == ["set", "set"]


def test_a_checkpoint_is_found_by_its_step_alone(registry: Registry, add: Add) -> None:
    add(0, job_id="ftjob-1", step=10)

    assert registry.resolve("t", "support:ckpt-step-10").number is None
    assert registry.adapters("t") == []
    for reference in ("support", "support:1", "support:ckpt-step-11"):
        with pytest.raises(UnknownVersionError):
            registry.resolve("t", reference)
    with pytest.raises(InvalidNameError, match="checkpoint"):
        registry.set_alias("t", "support:ckpt-step-10", "prod")
    assert add(0, job_id="ftjob-1").number == 1
    assert registry.resolve("t", "support").number == 1
    assert registry.check_integrity() == []


def test_a_newer_jobs_checkpoints_take_the_place_of_the_olders_for_good(registry: Registry, add: Add) -> None:
    old = add(0, job_id="ftjob-1", step=10)
    add(1, job_id="ftjob-1", step=20)
    add(2, job_id="ftjob-2", step=10)

    assert steps(registry) == [10]
    assert registry.resolve("t", "support:ckpt-step-10").job_id == "ftjob-2"
    assert not old.path.exists()
    with pytest.raises(SupersededJobError, match="newer job ftjob-2"):
        add(3, job_id="ftjob-1", step=30)
    assert steps(registry) == [10]
    assert registry.sweep(0) >= 0
    assert registry.check_integrity() == []


def test_a_resumed_job_replaces_its_own_checkpoint(registry: Registry, add: Add) -> None:
    first = add(0, job_id="ftjob-1", step=10)
    assert add(0, job_id="ftjob-1", step=10) == first
    again = add(1, job_id="ftjob-1", step=10)

    assert registry.resolve("t", "support:ckpt-step-10").digest == again.digest
    assert registry.check_integrity() == []


def test_retention_keeps_what_somebody_needs(registry: Registry, add: Add) -> None:
    versions = [add(seed) for seed in range(6)]
    add(6, job_id="ftjob-1", step=5)
    registry.set_alias("t", "support:1", "prod")
    pins.pin(registry, "t", Reference(name="support", number=2), NOBODY)
    wanted = Retention(default=1, in_use={versions[2].digest})

    def gone(retention: Retention) -> list[str]:
        return [str(version.reference) for version in prune(registry, "t", "support", retention, NOBODY)]

    assert gone(Retention(default=None)) == []
    assert gone(Retention(default=1, in_use=wanted.in_use, dry_run=True)) == ["support:5", "support:4"]
    assert len(numbers(registry)) == 6
    set_keep(registry, "t", "support", 2, NOBODY)
    assert gone(wanted) == ["support:4"]
    assert numbers(registry) == [6, 5, 3, 2, 1]
    assert steps(registry) == [5]
    assert gone(Retention(default=None, keep=1, checkpoints=True)) == ["support:5", "support:3", "support:ckpt-step-5"]
    assert not versions[4].path.exists()
    assert registry.check_integrity() == []
    for odd in (0, -1, 1_000_001):
        with pytest.raises(AdapterError, match=f"keep {odd} is not in 1"):
            set_keep(registry, "t", "support", odd, NOBODY)


def test_the_history_outlives_the_adapter(registry: Registry, add: Add) -> None:
    add(0, job_id="ftjob-1", metrics={"valid_loss": 1.5}, change=Change(actor="ann", reason="try"))
    registry.delete("t", "support", change=Change(actor="bob"))

    removed, published = registry.history("t", "support")

    assert (removed.kind, removed.actor, removed.number) == ("remove", "bob", None)
    assert (published.actor, published.reason, published.job_id) == ("ann", "try", "ftjob-1")
    assert published.details["metrics"] == {"valid_loss": 1.5}
    for name, tenant in (("support", "other"), ("nobody", "t")):
        with pytest.raises(UnknownAdapterError):
            registry.history(tenant, name)


def test_a_search_wants_one_version_to_fulfil_it_all(registry: Registry, add: Add) -> None:
    add(0, metrics={"valid_loss": 1.5})
    add(1, metrics={"valid_loss": 0.5}, job_id="ftjob-2")
    add(2, name="other", metrics={"accuracy": 0.9})
    set_tags(registry, "t", "support", 1, {"stage": "gold", "team": "50%_a"}, NOBODY)

    def found(**search: object) -> list[tuple[str, list[int | None]]]:
        page = find(registry, "t", Search(**search), 10)  # type: ignore[arg-type]
        return [(each.adapter.name, [version.number for version in each.matches]) for each in page.data]

    low, high = (MetricCondition.parse(text) for text in ("valid_loss<1", "valid_loss>=1"))
    assert found(metrics=(low,)) == [("support", [2])]
    assert found(metrics=(low,), tags=("stage",)) == []
    assert found(metrics=(high,), tags=("stage=gold",)) == [("support", [1])]
    assert found(job_id="ftjob-2") == [("support", [2])]
    assert found(text="50%_A") == [("support", [1])]
    # A wildcard of LIKE is a character like any other.
    assert found(text="5%a") == []
    assert found() == [("other", [1]), ("support", [2, 1])]
    assert find(registry, "elsewhere", Search(), 10).data == ()


def test_a_page_goes_on_where_the_last_ended(registry: Registry, add: Add) -> None:
    names = [f"a{number}" for number in range(5)]
    for name in names:
        add(0, name=name)

    first = find(registry, "t", Search(), 2)
    second = find(registry, "t", Search(), 3, after=first.data[-1].adapter.name)

    assert [each.adapter.name for each in (*first.data, *second.data)] == names
    assert (first.has_more, second.has_more) == (True, False)


def test_tags_are_bounded(registry: Registry, add: Add) -> None:
    add(0)
    for tags in ({"Stage": ""}, {"x": "a\nb"}, {"x": "y" * 257}, {f"t{n}": "" for n in range(33)}):
        with pytest.raises(InvalidTagError):
            set_tags(registry, "t", "support", 1, tags, NOBODY)
    assert registry.resolve("t", "support").tags == {}


def test_a_circle_of_parents_ends(registry: Registry, add: Add) -> None:
    first = add(0)
    add(1, name="loop", lineage={"init_from": "loop", "init_digest": first.digest, "files": ["file-1"]})

    told = lineage(registry, "t", "loop")

    assert [(each.name, each.version and str(each.version.reference)) for each in told.ancestors] == [
        ("loop", "support:1")
    ]
    assert told.data == ({"id": "file-1"},)


def test_pins_are_kept_until_they_are_taken_off_or_the_version_goes(registry: Registry, add: Add) -> None:
    add(0)
    add(1)
    for number in (2, 1):
        assert pins.pin(registry, "t", Reference(name="support", number=number), NOBODY).pinned
    assert [version.number for version in pins.pinned(registry)] == [2, 1]
    registry.delete("t", "support", 2)
    assert [version.number for version in pins.pinned(registry)] == [1]
    assert [version.number for version in pins.unpin(registry, "t", "support", None, NOBODY)] == [1]
    assert pins.pinned(registry) == []
