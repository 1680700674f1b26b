from collections.abc import Callable
from datetime import UTC, datetime

from corpus.records import Record
from corpus.synthetic.drafts import Draft
from corpus.synthetic.provenance import Provenance, moment, with_provenance
from corpus.synthetic.rows import RowWriter, read_back
from corpus.synthetic.seeds import seeds_of


def test_a_row_that_was_written_is_read_back_as_its_record(chat: Callable[..., Record]) -> None:
    seeds = seeds_of([chat("Where?", "x", label="x")])
    record = RowWriter(seeds).record(seeds.seeds[0], seeds.messages(seeds.seeds[0], "When?"), "x")
    provenance = Provenance(
        recipe="paraphrase",
        model="base",
        digest="sha256:0",
        seeds=("a.jsonl:1",),
        attempt=3,
        sampling={"temperature": 0.7, "seed": 0},
        at=moment(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
    )

    row = with_provenance(Draft(record=record, sources=("a.jsonl:1",), source_text=""), provenance)

    assert row["provenance"]["seeds"] == ["a.jsonl:1"]
    assert row["provenance"]["at"] == "2030-01-02T03:04:05+00:00"
    read = read_back(row, 1)
    assert (read.messages, read.label) == (record.messages, "x")
