from pathlib import Path

import pytest

from corpus.sources import Source, read_source


@pytest.mark.parametrize(
    ("text", "path", "weight"),
    [
        ("a.jsonl", "a.jsonl", 1.0),
        ("a.jsonl=2", "a.jsonl", 2.0),
        ("b/c.CSV=0.5", "b/c.CSV", 0.5),
        ("lr=2.parquet", "lr=2.parquet", 1.0),
        ("lr=2/rows.jsonl=1e-1", "lr=2/rows.jsonl", 0.1),
        ("a.jsonl=b.csv", "a.jsonl=b.csv", 1.0),
        ("a.jsonl=b.csv=3", "a.jsonl=b.csv", 3.0),
        ("rows=3", "rows=3", 1.0),
    ],
)
def test_a_weight_follows_the_files_suffix(text: str, path: str, weight: float) -> None:
    assert read_source(text) == Source(Path(path), weight)


@pytest.mark.parametrize("weight", ["", "two", "0", "-1", "nan", "inf", "1001"])
def test_what_is_no_weight_is_refused_with_the_way_to_write_it(weight: str) -> None:
    with pytest.raises(ValueError, match=r"a\.jsonl=.*FILE=WEIGHT.*above 0 and at most 1000"):
        read_source(f"a.jsonl={weight}")
