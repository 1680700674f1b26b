"""A row that a model has proposed, and the ways in which it can fall."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from corpus.records import Record
from corpus.synthetic.writing import Ask, Reply

REASONS: Final = {
    "prompt_too_long": "the examples do not fit the model's context",
    "empty": "the model wrote nothing",
    "cut_off": "the model was not done at the most tokens",
    "refusal": "the model declined or spoke about itself",
    "echo": "the model repeated what it was told",
    "repetition": "the text goes round in circles",
    "too_short": "shorter than rows of this set are",
    "too_long": "longer than rows of this set are",
    "characters": "control characters or wrongly decoded text",
    "control_tokens": "control tokens of a chat template",
    "language": "another language than the seeds'",
    "format": "the answer is not of the seeds' form",
    "lost_literal": "a number or name that the answer depends on is gone",
    "other_kind": "a question became a statement, or the other way round",
    "off_topic": "it shares too few words with what it was made from",
    "other_class": "a row of another class is nearer than any of its own",
    "ungrounded": "the answer does not stand in the document",
    "refers_to_text": "the question cannot be understood without the document",
    "seed": "it says what a seed says",
    "held_out": "it says what a held-out row says",
    "repeated": "it says what an earlier new row says",
    "judge": "the judge rated it too low",
}
"""Why a row was dropped, by the name under which it is counted."""


class Dropped(Exception):
    """Ends an attempt without a row.

    Attributes:
        reason: One of `REASONS`.
        text: What the model had proposed, for people.
    """

    def __init__(self, reason: str, text: str = "", detail: str = "") -> None:
        assert reason in REASONS, reason
        self.reason = reason
        self.text = text
        super().__init__(f"{REASONS[reason]}{f' ({detail})' if detail else ''}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A proposed row."""

    record: Record
    """Its `row` is as it would be written, provenance excepted; file and line are the first source's."""
    sources: tuple[str, ...]
    """`file:line` of what it was made from and of the examples that were shown, the most important first."""
    source_text: str
    """The core that it was made from, or the text that its answer must stand in."""


Attempt = Generator[Ask, Reply, Draft]
"""Asks, is sent replies, and returns a draft or raises `Dropped`."""
