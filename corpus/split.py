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
    """Two sides, each in file order; together they are all the records."""

    train: tuple[Record, ...]
    test: tuple[Record, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """A test record whose prompt (or text) also stands in the training set."""

    test_line: int
    train_line: int
    """The first equal record, or else the most similar one."""
    similarity: float
    exact: bool
    """Equal after normalisation; otherwise nearly equal."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    """All records with one normalised prompt: they stay together."""

    positions: tuple[int, ...]
    label: str
    """The first label in alphabetical order; empty where records have none."""

    def __len__(self) -> int:
        return len(self.positions)


def split(
    records: Sequence[Record], *, test_fraction: float = 0.1, test_size: int | None = None, seed: int = 0
) -> Split:
    """Divide records into a training and a test side.

    Records whose normalised prompts are equal stay on one side. Where every record has a label the sides have the same
    mix of labels: a label with two different prompts or more stands on both sides if the test side has room for every
    such label, and a label with one prompt stays in training. Both sides get at least one record; the test side misses
    its size where prompts that stay together do not fit.

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
    """Choose records, in file order; where every record has a label, with the same mix of labels.

    Every label is there if there is room for all.

    Raises:
        SplitError: `size` is not between 1 and the number of records.
    """
    if not 1 <= size <= len(records):
        raise SplitError(f"cannot sample {size} of {len(records)} records; ask for 1 to {len(records)}.")
    order = sorted(range(len(records)), key=lambda position: _rank(seed, row_key(records[position])))
    labels = _labels(records)
    members = _collect(order, lambda position: labels[position])
    quotas = _quotas({label: len(positions) for label, positions in members.items()}, size)
    chosen = {position for label, positions in members.items() for position in positions[: quotas[label]]}
    return tuple(records[position] for position in sorted(chosen))


def nested_sample(records: Sequence[Record], fraction: float, seed: int = 0) -> tuple[Record, ...]:
    """Choose a share of the records, in file order; with one seed, a smaller share is part of every larger one.

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
        At most one finding for each test record, in file order.
    """
    first_lines: dict[str, int] = {}
    for record in train:
        first_lines.setdefault(prompt_key(record), record.line)
    leaks = []
    for record, match in zip(test, nearest(train, test), strict=True):
        line = first_lines.get(prompt_key(record))
        if line is not None:
            leaks.append(Leak(test_line=record.line, train_line=line, similarity=1.0, exact=True))
        elif match is not None:
            line = train[match.position].line
            leaks.append(Leak(test_line=record.line, train_line=line, similarity=match.similarity, exact=False))
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
    """Choose whole prompts for the test side: each label's share first, then whatever still fits."""
    by_label = _collect(prompts, lambda prompt: prompt.label)
    sizes = {label: sum(map(len, members)) for label, members in by_label.items() if len(members) > 1}
    quotas = _quotas(sizes, min(target, sum(sizes.values())))
    chosen = {prompt for label, quota in quotas.items() for prompt in _fill(by_label[label], quota)}
    room = target - sum(map(len, chosen))
    for label in sizes:
        left = [prompt for prompt in by_label[label] if prompt not in chosen]
        for prompt in left[:-1]:  # one stays in training
            if len(prompt) <= room:
                chosen.add(prompt)
                room -= len(prompt)
    if not chosen:  # every label has a single prompt
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
    """Share `total` among labels by their sizes (largest remainders), one for each label first where that is possible.

    Returns:
        For each label at most its size; together exactly `total`, which is at most the sum of the sizes.
    """
    if not sizes:
        return {}
    floor = 1 if total >= len(sizes) else 0
    share = (total - floor * len(sizes)) / max(sum(sizes.values()) - floor * len(sizes), 1)
    ideal = {label: floor + (size - floor) * share for label, size in sizes.items()}
    quotas = {label: int(value) for label, value in ideal.items()}
    by_remainder = sorted(sizes, key=lambda label: (quotas[label] - ideal[label], label))
    missing = total - sum(quotas.values())
    for label in [label for label in by_remainder if quotas[label] < sizes[label]][:missing]:
        quotas[label] += 1
    return quotas


def _prompts(records: Sequence[Record], seed: int) -> list[_Prompt]:
    labels = _labels(records)
    keys = [prompt_key(record) for record in records]
    positions = _collect(range(len(records)), lambda position: keys[position])
    return [
        _Prompt(tuple(positions[key]), min(labels[position] for position in positions[key]))
        for key in sorted(positions, key=lambda key: _rank(seed, key))
    ]


def _labels(records: Sequence[Record]) -> list[str]:
    labels = [record.label for record in records if record.label is not None]
    return labels if len(labels) == len(records) else [""] * len(records)


def _collect(items: Sequence[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    members: dict[str, list[Item]] = {}
    for item in items:
        members.setdefault(key(item), []).append(item)
    return members


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}".encode()).digest()
