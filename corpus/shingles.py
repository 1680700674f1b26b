"""Texts as sets of shingles, and an index that finds similar sets without comparing all to all.

MinHash with banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3) proposes
candidates; each is then measured truly.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rensa import RMinHash, RMinHashLSH

from corpus.normalise import normalise

THRESHOLD = 0.8
SHINGLE_TOKENS = 3
NUM_BANDS = 21
NUM_PERMUTATIONS = 6 * NUM_BANDS
"""Six values a band: a pair at 0.8 is proposed with 99.8%, at 0.9 with 99.9999%, at 0.5 with 28%."""
MAX_CANDIDATES = 200
"""A row with more is compared to the first of them and then left out of the index: work stays linear in the rows."""
SEED = 1

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_TOKEN = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")
"""A word, or one letter of a script that puts no spaces between words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A sketch in an index, similar to the one asked about."""

    position: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Sketch:
    """A record's shingles and their MinHash."""

    shingles: frozenset[str]
    minhash: RMinHash


class ShingleIndex:
    """Sketches to be found by similarity."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._bands = RMinHashLSH(threshold, NUM_PERMUTATIONS, NUM_BANDS)
        self._shingles: dict[int, frozenset[str]] = {}

    def add(self, position: int, sketch: Sketch) -> None:
        """Make a sketch findable, unless it has no shingles or its neighbourhood is full."""
        if sketch.shingles and len(self._bands.query(sketch.minhash)) <= MAX_CANDIDATES:
            self._bands.insert(position, sketch.minhash)
            self._shingles[position] = sketch.shingles

    def matches(self, sketch: Sketch) -> Iterator[Match]:
        """Yield the indexed sketches at least as similar as the threshold, by position."""
        if not sketch.shingles:
            return
        for position in sorted(self._bands.query(sketch.minhash))[:MAX_CANDIDATES]:
            similarity = jaccard(sketch.shingles, self._shingles[position])
            if similarity >= self._threshold:
                yield Match(position=position, similarity=similarity)


def words(text: str) -> list[str]:
    """Cut a normalised text into words, and into letters where a script puts no spaces between words."""
    return _TOKEN.findall(normalise(text))


def shingles(text: str) -> frozenset[str]:
    """Cut a text into overlapping runs of three tokens; a shorter text is one run, an empty one has none."""
    tokens = words(text)
    last = max(len(tokens) - SHINGLE_TOKENS, 0)
    return frozenset(" ".join(tokens[start : start + SHINGLE_TOKENS]) for start in range(last + 1) if tokens)


def sketches(texts: Sequence[str]) -> Iterator[Sketch]:
    """Sketch texts in order."""
    cut = [shingles(text) for text in texts]
    minhashes = RMinHash.from_token_sets([sorted(tokens) for tokens in cut], NUM_PERMUTATIONS, SEED)
    for tokens, minhash in zip(cut, minhashes, strict=True):
        yield Sketch(shingles=tokens, minhash=minhash)


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Return the size of the intersection over the size of the union; 0 for two empty sets."""
    shared = len(first & second)
    union = len(first) + len(second) - shared
    return shared / union if union else 0.0
