"""Preference records to pairs of token rows, of which only the two answers count."""

from collections.abc import Sequence

from base.errors import RenderingError
from base.rendering import Example
from corpus.messages import Message
from corpus.records import Record
from training.rows.examples import Encoder, Origin, Prepared, RefusedRow


def prepare_pairs(records: Sequence[Record], encoder: Encoder, max_length: int) -> Prepared:
    """Encodes the better and the worse conversation of each record, both cut at `max_length` tokens.

    A record that is no pair, whose template fails, or of which an answer is cut off whole, is refused.
    """
    chosen: list[Example] = []
    rejected: list[Example] = []
    origins: list[Origin] = []
    refused: list[RefusedRow] = []
    num_truncated = 0
    for record in records:
        try:
            pair = [_cut(whole, max_length) for whole in _pair(record, encoder)]
        except (RenderingError, _Unusable) as error:
            refused.append(RefusedRow(record.file, record.line, str(error)))
            continue
        chosen.append(pair[0][0])
        rejected.append(pair[1][0])
        origins.append(Origin(record.file, record.line, record.weight))
        num_truncated += any(was_cut for _, was_cut in pair)
    return Prepared(tuple(chosen), num_truncated, tuple(refused), tuple(rejected), tuple(origins))


class _Unusable(Exception):
    pass


def _pair(record: Record, encoder: Encoder) -> list[Example]:
    if record.rejected is None:
        raise _Unusable("no preference pair: method dpo needs the fields chosen and rejected")
    return [_answer(messages, record, encoder) for messages in (record.messages, record.rejected_messages)]


def _answer(messages: Sequence[Message], record: Record, encoder: Encoder) -> Example:
    """The conversation with its last answer labelled alone: earlier ones are part of the prompt."""
    whole = encoder.renderer.conversation(messages, record.tools)
    start = len(encoder.renderer.prompt(messages[:-1], record.tools))
    return Example(whole.input_ids, tuple(flag and at >= start for at, flag in enumerate(whole.labelled)))


def _cut(whole: Example, max_length: int) -> tuple[Example, bool]:
    cut = whole.truncated(max_length)
    if not cut.num_labelled:
        raise _Unusable(f"an answer is cut off whole at {max_length} tokens: raise --max-length or shorten the prompt")
    return cut, len(whole.input_ids) > max_length
