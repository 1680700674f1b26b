"""New rows in the layout of their seeds, so that both can be trained on together."""

from collections.abc import Mapping, Sequence
from typing import Any

from corpus.columns import detect
from corpus.conversion import to_record
from corpus.messages import Message, content_text
from corpus.records import Record
from corpus.rows import Row
from corpus.synthetic.seeds import Seed, SeedSet

PROVENANCE = "provenance"
"""The column that says where a new row comes from; readers of rows leave it alone."""


class RowWriter:
    """Makes records whose rows all have one layout.

    `text` and `label` where every seed has a class, `prompt` and `completion` where every seed is one turn and its
    answer, otherwise `messages`.
    """

    def __init__(self, seeds: SeedSet) -> None:
        plain = all(len(seed.record.messages) == 2 and not seed.record.tools for seed in seeds.seeds)
        self._columns = (("text", "label") if seeds.labels else ("prompt", "completion")) if plain else None

    def record(self, like: Seed, prompt: Sequence[Message], answer: str) -> Record:
        """Return a record with these prompt messages and this answer, otherwise like its seed."""
        last = {**like.record.messages[-1], "content": answer}
        row: dict[str, Any]
        if self._columns is not None:
            row = dict(zip(self._columns, (content_text(prompt[-1]), answer), strict=True))
        else:
            row = {"messages": [dict(message) for message in (*prompt, last)]}
            row |= {"tools": [dict(tool) for tool in like.record.tools]} if like.record.tools else {}
        return Record(
            kind="chat",
            file=like.record.file,
            line=like.record.line,
            row=row,
            messages=(*prompt, last),
            label=answer if self._columns == ("text", "label") else None,
            tools=like.record.tools,
        )


def question_record(question: str, answer: str, *, file: str, line: int) -> Record:
    """Return the record of a question and its answer."""
    return Record(
        kind="chat",
        file=file,
        line=line,
        row={"prompt": question, "completion": answer},
        messages=({"role": "user", "content": question}, {"role": "assistant", "content": answer}),
    )


def read_back(row: Mapping[str, Any], line: int) -> Record:
    """Return the record of a row that was written here.

    Raises:
        CorpusError: It was not.
    """
    values = {name: value for name, value in row.items() if name != PROVENANCE}
    return to_record(Row(line=line, values=values), detect(list(values)), "generated")
