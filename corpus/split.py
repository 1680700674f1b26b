"""Training and test sides that share no prompt, and smaller samples.

Who goes where is decided by hashing the seed with a record's normalised text, so that shuffling a file, or adding a few
rows to it, leaves the other rows where they were as far as the sizes allow.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from corpus.duplicates import nearest
from corpus.errors import SplitError
from corpus.normalise import prompt_key, row_key
from corpus.records import Record

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Two sides, each in the records' order; together they are all of them."""

    train: tuple[Record, ...]
    test: tuple[Record, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """A test record whose prompt (or text) also stands in the training set."""

    test: Record
    train: Record
    """The first equal record, or else the most similar one."""
    similarity: float
    exact: bool
    """Equal after normalisation; otherwise nearly equal."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    """All records with one normalised prompt: they stay together."""

    positions: tuple[int, ...]
    stratum: str
    """The first of theirs in alphabetical order."""

    def __len__(self) -> int:
        return len(self.positions)


def split(
    records: Sequence[Record], *, test_fraction: float = 0.1, test_size: int | None = None, seed: int = 0
) -> Split:
    """Divide records into a training and a test side.

    Records whose normalised prompts are equal stay on one side. The sides have the same mix of strata, which are the
    labels, and for records without one their files: a stratum with two different prompts or more stands on both sides
    if the test side has room for every such one, and a stratum with one prompt stays in training. Both sides get at
    least one record; the test side misses its size where prompts that stay together do not fit.

    Args:
        records: The records to divide.
        test_fraction: Share of the records for the test side, above 0 and below 1.
        test_size: Number of records for the test side; rules over `test_fraction`.
        seed: Another seed gives another division.

    Raises:
        SplitError: The size is out of range, or there is only one distinct prompt.
    """
    target = _target(len(records), test_fraction, test_size)
    prompts = _prompts(records, seed)
    if len(prompts) < 2:
        raise SplitError(f"{len(records)} records with {len(prompts)} distinct prompt cannot be split; two are needed.")
    test = _choose(prompts, target)
    return Split(
        train=tuple(record for position, record in enumerate(records) if position not in test),
        test=tuple(record for position, record in enumerate(records) if position in test),
    )


def sample(records: Sequence[Record], size: int, seed: int = 0) -> tuple[Record, ...]:
    """Choose records, in their order, with the same mix of labels, and of files among records without a label.

    Every label and such file is there if there is room for all.

    Raises:
        SplitError: `size` is not between 1 and the number of records.
    """
    if not 1 <= size <= len(records):
        raise SplitError(f"cannot sample {size} of {len(records)} records; ask for 1 to {len(records)}.")
    order = sorted(range(len(records)), key=lambda position: _rank(seed, row_key(records[position])))
    members = _collect(order, lambda position: _stratum(records[position]))
    quotas = _quotas({stratum: len(positions) for stratum, positions in members.items()}, size)
    chosen = {position for stratum, positions in members.items() for position in positions[: quotas[stratum]]}
    return tuple(records[position] for position in sorted(chosen))


def nested_sample(records: Sequence[Record], fraction: float, seed: int = 0) -> tuple[Record, ...]:
    """Choose a share of the records, in their order; with one seed, a smaller share is part of every larger one.

    Unlike `sample` it does not keep the mix of labels exactly: quotas would take records away as the share grows.

    Raises:
        SplitError: `fraction` is not above 0 and at most 1, or there is no record.
    """
    if not 0 < fraction <= 1 or not records:
        raise SplitError(f"cannot take the share {fraction} of {len(records)} records; ask for above 0, at most 1.")
    size = max(1, round(fraction * len(records)))
    order = sorted(range(len(records)), key=lambda position: _rank(seed, row_key(records[position])))
    return tuple(records[position] for position in sorted(order[:size]))


def leakage(train: Sequence[Record], test: Sequence[Record]) -> tuple[Leak, ...]:
    """Find the test records whose prompts stand in the training set, equal after normalisation or nearly equal.

    Returns:
        At most one finding for each test record, in their order.
    """
    first: dict[str, Record] = {}
    for record in train:
        first.setdefault(prompt_key(record), record)
    leaks = []
    for record, match in zip(test, nearest(train, test), strict=True):
        equal = first.get(prompt_key(record))
        if equal is not None:
            leaks.append(Leak(test=record, train=equal, similarity=1.0, exact=True))
        elif match is not None:
            leaks.append(Leak(test=record, train=train[match.position], similarity=match.similarity, exact=False))
    return tuple(leaks)


def _target(num_records: int, test_fraction: float, test_size: int | None) -> int:
    if num_records < 2:
        raise SplitError(f"{num_records} record cannot be split; two are needed.")
    if test_size is None:
        if not 0 < test_fraction < 1:
            raise SplitError(f"test_fraction is {test_fraction}; it must be above 0 and below 1.")
        return min(max(round(num_records * test_fraction), 1), num_records - 1)
    if not 1 <= test_size <= num_records - 1:
        raise SplitError(f"test_size is {test_size}; of {num_records} records take 1 to {num_records - 1}.")
    return test_size


def _choose(prompts: Sequence[_Prompt], target: int) -> frozenset[int]:
    """Choose whole prompts for the test side: each stratum's share first, then whatever still fits."""
    by_stratum = _collect(prompts, lambda prompt: prompt.stratum)
    sizes = {stratum: sum(map(len, members)) for stratum, members in by_stratum.items() if len(members) > 1}
    quotas = _quotas(sizes, min(target, sum(sizes.values())))
    chosen = {prompt for stratum, quota in quotas.items() for prompt in _fill(by_stratum[stratum], quota)}
    room = target - sum(map(len, chosen))
    for stratum in sizes:
        left = [prompt for prompt in by_stratum[stratum] if prompt not in chosen]
        for prompt in left[:-1]:  # one stays in training
            if len(prompt) <= room:
                chosen.add(prompt)
                room -= len(prompt)
    if not chosen:  # every stratum has a single prompt
        chosen = set(_fill(sorted(prompts, key=len), target))
    return frozenset(position for prompt in chosen for position in prompt.positions)


def _fill(prompts: Sequence[_Prompt], quota: int) -> list[_Prompt]:
    """Take prompts while they fit, at least one if the quota is not zero, and never all."""
    chosen: list[_Prompt] = []
    room = quota
    for prompt in prompts:
        if len(prompt) <= room and len(chosen) < len(prompts) - 1:
            chosen.append(prompt)
            room -= len(prompt)
    return chosen if chosen or quota == 0 else [min(prompts, key=len)]


def _quotas(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Share `total` among strata by their sizes (largest remainders), one for each first where that is possible.

    Returns:
        For each stratum at most its size; together exactly `total`, which is at most the sum of the sizes.
    """
    if not sizes:
        return {}
    floor = 1 if total >= len(sizes) else 0
    share = (total - floor * len(sizes)) / max(sum(sizes.values()) - floor * len(sizes), 1)
    ideal = {stratum: floor + (size - floor) * share for stratum, size in sizes.items()}
    quotas = {stratum: int(value) for stratum, value in ideal.items()}
    by_remainder = sorted(sizes, key=lambda stratum: (quotas[stratum] - ideal[stratum], stratum))
    missing = total - sum(quotas.values())
    for stratum in [stratum for stratum in by_remainder if quotas[stratum] < sizes[stratum]][:missing]:
        quotas[stratum] += 1
    return quotas


def _prompts(records: Sequence[Record], seed: int) -> list[_Prompt]:
    keys = [prompt_key(record) for record in records]
    positions = _collect(range(len(records)), lambda position: keys[position])
    return [
        _Prompt(tuple(positions[key]), min(_stratum(records[position]) for position in positions[key]))
        for key in sorted(positions, key=lambda key: _rank(seed, key))
    ]


def _stratum(record: Record) -> str:
    # A file may be named as a label is.
    return f"\0{record.file}" if record.label is None else record.label


def _collect(items: Sequence[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    members: dict[str, list[Item]] = {}
    for item in items:
        members.setdefault(key(item), []).append(item)
    return members


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}".encode()).digest()
