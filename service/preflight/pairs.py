"""The rows that a run pays for: of a preference pair both conversations."""

from collections.abc import Sequence

from base.rendering import Example
from corpus.records import Record
from corpus.report import Report
from corpus.tokens import RowTokens
from training.config import AskedConfig
from training.rows.examples import Encoder
from training.rows.pairs import prepare_pairs


def cost_rows(
    train: Report, config: AskedConfig, records: Sequence[Record], encoder: Encoder, max_length: int
) -> Sequence[RowTokens]:
    """Return the usable rows with the tokens that a pass computes for each.

    With method dpo a row is a pair, whose conversations lie in one pass. Records that are no pairs keep the counts of
    their one conversation: the run itself refuses them.
    """
    if config.method != "dpo":
        return train.rows
    usable = {(row.file, row.line) for row in train.rows}
    pairs = prepare_pairs([record for record in records if (record.file, record.line) in usable], encoder, max_length)
    return [
        RowTokens(
            file=origin.file,
            line=origin.line,
            weight=origin.weight,
            length=_num_tokens(sides),
            labelled=_num_labelled(sides),
            kept=_num_tokens(sides),
            kept_labelled=_num_labelled(sides),
            first_label=None,
        )
        for origin, *sides in zip(pairs.origins, pairs.examples, pairs.rejected, strict=True)
    ] or train.rows


def _num_tokens(sides: Sequence[Example]) -> int:
    return sum(len(side.input_ids) for side in sides)


def _num_labelled(sides: Sequence[Example]) -> int:
    return sum(side.num_labelled for side in sides)
