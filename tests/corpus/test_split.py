import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import SplitError
from corpus.normalise import prompt_key
from corpus.records import Record
from corpus.split import leakage, nested_sample, sample, split


def record(line: int, prompt: str, label: str | None = None) -> Record:
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": label or "a"})
    return Record(kind="chat", file="f", line=line, row={}, messages=messages, label=label)


def numbered(count: int) -> list[Record]:
    return [record(line, f"prompt {line}") for line in range(1, count + 1)]


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "A!", "b", "c", "c?", "d", "e", "f", ""]), st.sampled_from(["x", "y", "z"])),
    min_size=2,
    max_size=30,
)


@given(rows=ROWS, labels=st.booleans(), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_a_split_keeps_every_record_once_and_never_parts_equal_prompts(
    rows: list[tuple[str, str]], labels: bool, fraction: float, seed: int
) -> None:
    records = [record(line, prompt, label if labels else None) for line, (prompt, label) in enumerate(rows)]
    if len({prompt_key(item) for item in records}) < 2:
        with pytest.raises(SplitError, match="distinct prompt"):
            split(records, test_fraction=fraction, seed=seed)
        return
    result = split(records, test_fraction=fraction, seed=seed)
    assert result.train
    assert result.test
    assert sorted(result.train + result.test, key=lambda item: item.line) == records
    assert not {prompt_key(item) for item in result.train} & {prompt_key(item) for item in result.test}
    for side in (result.train, result.test):
        assert [item.line for item in side] == sorted(item.line for item in side)


@pytest.mark.parametrize(("count", "fraction", "expected"), [(100, 0.1, 10), (10, 0.25, 2), (3, 0.01, 1), (3, 0.99, 2)])
def test_the_test_side_has_its_share(count: int, fraction: float, expected: int) -> None:
    assert len(split(numbered(count), test_fraction=fraction).test) == expected


def test_a_size_in_records_rules_over_the_fraction() -> None:
    assert len(split(numbered(50), test_fraction=0.5, test_size=7).test) == 7


def test_the_seed_decides_and_the_order_of_the_file_does_not() -> None:
    records = numbered(60)
    shuffled = random.Random(1).sample(records, len(records))
    chosen = {item.line for item in split(records, seed=1).test}
    assert {item.line for item in split(shuffled, seed=1).test} == chosen
    assert {item.line for item in split(records, seed=2).test} != chosen


def test_labels_keep_their_mix_and_stand_on_both_sides() -> None:
    sizes = {"a": 60, "b": 30, "c": 8, "d": 2, "e": 1}
    records = [record(0, f"{label} {number}", label) for label, size in sizes.items() for number in range(size)]
    result = split(records, test_size=20)
    test, train = (Counter(item.label for item in side) for side in (result.test, result.train))
    assert len(result.test) == 20
    assert {"a", "b", "c", "d"} <= test.keys() & train.keys()
    assert test["e"] == 0
    assert 10 <= test["a"] <= 13
    assert 5 <= test["b"] <= 7


def test_labels_that_each_have_one_prompt_can_be_split_all_the_same() -> None:
    result = split([record(line, f"p{line}", f"l{line}") for line in range(10)], test_size=3)
    assert (len(result.train), len(result.test)) == (7, 3)


def test_a_group_larger_than_the_test_side_does_not_leave_it_empty() -> None:
    records = [record(line, "same" if line < 9 else "other") for line in range(18)]
    assert len(split(records, test_size=2).test) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 0.0}, "test_fraction is 0.0"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0"),
        ({"test_fraction": float("nan")}, "test_fraction is nan"),
        ({"test_size": 0}, "test_size is 0; of 5 records take 1 to 4"),
        ({"test_size": 5}, "test_size is 5; of 5 records take 1 to 4"),
    ],
)
def test_an_impossible_size_names_the_counts(options: dict[str, float], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        split(numbered(5), **options)  # type: ignore[arg-type]  # the sizes are the test's parameters


def test_too_few_records_or_prompts_cannot_be_split() -> None:
    with pytest.raises(SplitError, match="1 record"):
        split(numbered(1))
    with pytest.raises(SplitError, match="3 records with 1 distinct prompt"):
        split([record(line, "same") for line in range(3)])


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6), share=st.floats(0, 1), seed=st.integers(0, 3))
def test_a_sample_has_its_size_the_mix_of_labels_and_file_order(sizes: list[int], share: float, seed: int) -> None:
    records = [record(0, f"{label} {n}", f"label {label}") for label, size in enumerate(sizes) for n in range(size)]
    size = max(1, round(share * len(records)))
    chosen = sample(records, size, seed)
    assert len(chosen) == size
    assert [item for item in records if item in chosen] == list(chosen)
    counts = Counter(item.label for item in chosen)
    if size >= len(sizes):
        assert len(counts) == len(sizes)
        ideal = {
            f"label {label}": 1 + (count - 1) * (size - len(sizes)) / max(len(records) - len(sizes), 1)
            for label, count in enumerate(sizes)
        }
        assert all(abs(counts[label] - value) < 1.001 for label, value in ideal.items())


def test_a_sample_follows_its_seed_and_refuses_impossible_sizes() -> None:
    records = numbered(40)
    assert sample(records, 10, 1) == sample(records, 10, 1) != sample(records, 10, 2)
    assert sample(records, 40) == tuple(records)
    for size in (0, 41):
        with pytest.raises(SplitError, match=f"cannot sample {size} of 40"):
            sample(records, size)


def test_leakage_finds_equal_and_nearly_equal_prompts() -> None:
    near = "please tell me how I can change the personal identification number of my new debit card"
    train = [record(1, "unrelated"), record(2, "Hello there!"), record(3, near), record(4, "hello there")]
    test = [record(5, "hello there"), record(6, near + " today"), record(7, "nothing like it")]
    exact, almost = leakage(train, test)
    assert (exact.test.line, exact.train.line, exact.similarity, exact.exact) == (5, 2, 1.0, True)
    assert (almost.test.line, almost.train.line, almost.exact) == (6, 3, False)
    assert 0.8 <= almost.similarity < 1


def test_a_split_leaks_nothing_equal() -> None:
    records = [record(line, f"prompt {line % 20}{'!' * (line % 3)}") for line in range(60)]
    result = split(records, test_fraction=0.3)
    assert not [leak for leak in leakage(result.train, result.test) if leak.exact]


@pytest.mark.parametrize("seed", [0, 7])
def test_nested_shares_are_parts_of_each_other_and_end_with_all(seed: int) -> None:
    records = numbered(47)
    shares = [nested_sample(records, fraction, seed) for fraction in (0.02, 0.1, 0.31, 0.9, 1.0)]
    assert [len(share) for share in shares] == [1, 5, 15, 42, 47]
    for smaller, larger in itertools.pairwise(shares):
        assert {item.line for item in smaller} < {item.line for item in larger}
        assert [item.line for item in larger] == sorted(item.line for item in larger)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(SplitError):
        nested_sample(numbered(1), fraction)


def test_each_file_and_each_label_gives_its_share() -> None:
    mixture = [
        *(replace(item, file="large") for item in numbered(80)),
        *(replace(record(line, f"other {line}"), file="small") for line in range(20)),
        *(record(line, f"labelled {line}", "small" if line % 4 else "rare") for line in range(40)),
    ]

    def strata(records: Sequence[Record]) -> Counter[tuple[str, str | None]]:
        return Counter((item.file, item.label) for item in records)

    whole = {("large", None): 80, ("small", None): 20, ("f", "small"): 30, ("f", "rare"): 10}
    assert strata(mixture) == whole
    for part in (split(mixture, test_fraction=0.1).test, sample(mixture, 14)):
        assert all(abs(strata(part)[name] - size / 10) <= 1 for name, size in whole.items())
        assert set(strata(part)) == set(whole)


def test_equal_prompts_of_two_files_stay_on_one_side() -> None:
    twice = [replace(item, file=file) for file in ("a", "b") for item in numbered(20)]
    sides = split(twice, test_fraction=0.3)
    assert {item.line for item in sides.test} & {item.line for item in sides.train} == set()
    assert len(sides.test) == 12
