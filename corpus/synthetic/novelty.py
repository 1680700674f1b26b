"""Whether a text says something new beside the seeds, the held-out rows and the rows that were kept before."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from corpus.normalise import normalise
from corpus.shingles import THRESHOLD, ShingleIndex, sketches, words
from corpus.synthetic.overlap import rouge_l

MAX_SIMILARITY = 0.7
"""ROUGE-L from which two prompts are held to say the same; Self-Instruct's bound (Wang and others 2022)."""

Origin = Literal["seed", "held_out", "repeated"]
"""Also the reason for which a row like it is dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """What a text is like."""

    origin: Origin
    place: str
    """`file:line`, or which new row."""
    similarity: float
    """1 where both are equal after normalisation."""


@dataclass(frozen=True, slots=True)
class _Known:
    words: tuple[str, ...]
    origin: Origin
    place: str
    label: str | None


class Novelty:
    """Everything that is known, to be asked whether a text is near to any of it.

    Near is: equal after normalisation; a ROUGE-L of at least `max_similarity`, against every known text and not a
    sample; or a near duplicate by `corpus.duplicates`, so that `lorad data check` finds none.
    """

    def __init__(self, max_similarity: float = MAX_SIMILARITY) -> None:
        self._max_similarity = max_similarity
        self._known: list[_Known] = []
        self._exact: dict[str, int] = {}
        self._holding: dict[str, list[tuple[int, int]]] = {}
        self._index = ShingleIndex(THRESHOLD)

    def add(self, text: str, origin: Origin, place: str, label: str | None = None) -> None:
        """Make a text known."""
        position = len(self._known)
        found = tuple(words(text))
        self._known.append(_Known(found, origin, place, label))
        self._exact.setdefault(normalise(text), position)
        for word, count in Counter(found).items():
            self._holding.setdefault(word, []).append((position, count))
        self._index.add(position, next(sketches([text])))

    def nearest(self, text: str) -> Near | None:
        """Return the known text that it repeats, the most similar of several; None where it is new."""
        equal = self._exact.get(normalise(text))
        if equal is not None:
            return self._near(equal, 1.0)
        found = [(similarity, -position) for position, similarity in self._similar(text, self._max_similarity)]
        found += [(match.similarity, -match.position) for match in self._index.matches(next(sketches([text])))]
        if not found:
            return None
        similarity, position = max(found)
        return self._near(-position, similarity)

    def class_of_nearest(self, text: str, own: str) -> str | None:
        """Return the class of the most similar text with one; its own where that is as near, None where none is."""
        best: dict[str, float] = {}
        for position, similarity in self._similar(text, 0.0):
            label = self._known[position].label
            if label is not None and similarity > best.get(label, 0.0):
                best[label] = similarity
        if not best:
            return None
        return own if best.get(own, 0.0) >= max(best.values()) else max(sorted(best), key=best.__getitem__)

    def _similar(self, text: str, least: float) -> Iterator[tuple[int, float]]:
        """Measure the known texts that can reach `least` by the number of their common words."""
        asked = tuple(words(text))
        shared: Counter[int] = Counter()
        for word, count in Counter(asked).items():
            for position, other in self._holding.get(word, ()):
                shared[position] += min(count, other)
        for position, most in shared.items():
            known = self._known[position].words
            if 2 * most / (len(asked) + len(known)) >= least:
                similarity = rouge_l(asked, known)
                if similarity >= least:
                    yield position, similarity

    def _near(self, position: int, similarity: float) -> Near:
        known = self._known[position]
        return Near(origin=known.origin, place=known.place, similarity=similarity)
