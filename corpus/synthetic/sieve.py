"""What is kept of the drafts: checks from the cheapest to the dearest, each with a reason of its own."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpus.characters import odd_characters
from corpus.control_tokens import control_tokens
from corpus.language import guess
from corpus.normalise import normalise
from corpus.records import Record
from corpus.synthetic.drafts import Draft, Dropped
from corpus.synthetic.form import AnswerForm
from corpus.synthetic.novelty import MAX_SIMILARITY, Novelty
from corpus.synthetic.parsing import goes_round
from corpus.synthetic.seeds import SeedSet, frame_of, last_text

_COPIED_CHARACTERS = 24
"""Shorter texts stand in others by chance: "What is my balance?"."""
_LEEWAY = 2
"""A new text may be so many times shorter or longer than any seed's."""
_QUESTION_CHARACTERS = (10, 400)
_ANSWER_CHARACTERS = (1, 2000)
"""Of rows from documents, which have no seeds to be measured by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SieveOptions:
    """How finely is sifted."""

    max_similarity: float = MAX_SIMILARITY
    min_characters: int | None = None
    """Of a prompt; by default half of the shortest seed's."""
    max_characters: int | None = None
    """Of a prompt; by default twice the longest seed's."""
    language: bool = True
    """Drop rows that are surely in another language than most seeds."""


class Sieve:
    """Decides about drafts, one after the other: what is kept is known to those that follow.

    Args:
        seeds: Sets the measures; None for rows from documents.
        held_out: Rows that nothing may resemble.
        options: How finely.
        texts: Of the documents, for their language.
    """

    def __init__(
        self,
        seeds: SeedSet | None,
        held_out: Sequence[Record],
        options: SieveOptions,
        texts: Sequence[str] = (),
    ) -> None:
        self._seeds = seeds
        self._options = options
        self._novelty = Novelty(options.max_similarity)
        records = [] if seeds is None else [seed.record for seed in seeds.seeds]
        self._held_out = [(normalise(text), place) for text, place in _whole(held_out)]
        for record in held_out:
            self._novelty.add(self._text(record), "held_out", f"{record.file}:{record.line}")
        for record in records:
            self._novelty.add(self._text(record), "seed", f"{record.file}:{record.line}", record.label)
        self._prompt_bounds = self._bounds([seed.core for seed in seeds.seeds] if seeds else [])
        answers = [record.completion for record in records]
        self._answer_bounds = _between(answers) if answers else _ANSWER_CHARACTERS
        self._form = AnswerForm.of(answers, seeds.labels if seeds else frozenset()) if answers else AnswerForm()
        self._language = (
            _main_language([self._text(record) for record in records] or texts) if options.language else None
        )

    def check(self, draft: Draft) -> None:
        """Let a draft through or not.

        Raises:
            Dropped: With the reason.
        """
        text = self._text(draft.record)
        self._check_text(text, draft)
        fault = self._form.fault(draft.record.completion)
        if fault is not None:
            raise Dropped("format", draft.record.completion, fault)
        self._check_new(text, draft.record.label)

    def keep(self, record: Record, place: str) -> None:
        """Make a row known that was kept, now or by the run that this one goes on with."""
        self._novelty.add(self._text(record), "repeated", place)

    def _check_text(self, text: str, draft: Draft) -> None:
        answer = draft.record.completion
        for part, (least, most) in ((text, self._prompt_bounds), (answer, self._answer_bounds)):
            if len(part) < least:
                raise Dropped("too_short", part, f"{len(part)} characters, at least {least}")
            if len(part) > most:
                raise Dropped("too_long", part, f"{len(part)} characters, at most {most}")
            odd = next(odd_characters(part), None)
            if odd is not None:
                raise Dropped("characters", part, odd)
        mark = next(control_tokens(draft.record), None)
        if mark is not None:
            raise Dropped("control_tokens", text, mark.token)
        if goes_round(answer) and self._form.required is None:
            raise Dropped("repetition", answer)
        found = guess(text) if self._language is not None else None
        if found is not None and found.language != self._language:
            raise Dropped("language", text, found.language)

    def _check_new(self, text: str, label: str | None) -> None:
        copied = self._within_held_out(normalise(text))
        if copied is not None:
            raise Dropped("held_out", text, f"{copied}, word for word")
        near = self._novelty.nearest(text)
        if near is not None:
            raise Dropped(near.origin, text, f"{near.place}, {near.similarity:.2f}")
        if label is not None:
            nearest = self._novelty.class_of_nearest(text, label)
            if nearest not in (None, label):
                raise Dropped("other_class", text, str(nearest))

    def _within_held_out(self, text: str) -> str | None:
        """Where the text stands in a held-out row, or such a row in the text.

        Behind another instruction, a copied question is too small a part of both for their likeness to tell.
        """
        for known, place in self._held_out:
            if min(len(known), len(text)) >= _COPIED_CHARACTERS and (text in known or known in text):
                return place
        return None

    def _text(self, record: Record) -> str:
        if self._seeds is not None and record.kind == "chat":
            return self._seeds.text_of(record)
        return record.prompt if record.kind == "chat" else record.text

    def _bounds(self, cores: Sequence[str]) -> tuple[int, int]:
        least, most = _between(cores) if cores else _QUESTION_CHARACTERS
        given = self._options
        return (
            least if given.min_characters is None else given.min_characters,
            most if given.max_characters is None else given.max_characters,
        )


def _whole(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Each row's last turn, and what stands in it inside an instruction that all of them share."""
    rows = [(last_text(record) if record.kind == "chat" else record.text, record) for record in records]
    frame = frame_of([text for text, _ in rows])
    for text, record in rows:
        for each in {text, frame.core(text)}:
            yield each, f"{record.file}:{record.line}"


def _between(texts: Sequence[str]) -> tuple[int, int]:
    lengths = [len(text) for text in texts]
    return min(lengths) // _LEEWAY, max(lengths) * _LEEWAY


def _main_language(texts: Sequence[str]) -> str | None:
    counts = Counter(found.language for found in map(guess, texts) if found is not None)
    return counts.most_common(1)[0][0] if counts else None
