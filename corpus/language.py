"""Which languages a file is in, and the rows in another one than it.

py3langid (naive Bayes over byte n-grams, Lui and Baldwin 2012; its model is in the wheel, and no pickle) names the
language of a text and how sure it is.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from corpus.errors import CorpusError

MIN_CHARACTERS = 20
"""Shorter texts are not judged: `ok` is a word in fifty languages."""
MAX_CHARACTERS = 1000
MIN_PROBABILITY = 0.9
MAX_SHARE = 0.1
"""A language that more rows than this are in is one of the file's languages, not an outlier."""
_SAME = {"wuu": "zh", "yue": "zh", "cmn": "zh", "nb": "no", "nn": "no"}
"""Varieties that are written too much alike to be told apart in a few words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """The language of one text."""

    language: str
    """ISO 639 code."""
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Languages:
    """The languages of a file's rows."""

    counts: dict[str, int]
    """Rows of each language that was told with certainty, the most frequent first."""
    outliers: tuple[tuple[int, Guess], ...]
    """(position, guess) of the rows in a language that is rare here, the surest first."""


def guess(text: str) -> Guess | None:
    """Name the language of `text`; None where the text is too short or the answer unsure."""
    if len(text) < MIN_CHARACTERS:
        return None
    language, probability = _identifier().classify(text[:MAX_CHARACTERS])
    if probability < MIN_PROBABILITY:
        return None
    return Guess(language=_SAME.get(language, language), probability=probability)


def languages(texts: Sequence[str]) -> Languages:
    """Find the languages of `texts` and the texts that do not fit in."""
    guesses = [guess(text) for text in texts]
    counts = Counter(found.language for found in guesses if found is not None)
    told = sum(counts.values())
    outliers = [
        (position, found)
        for position, found in enumerate(guesses)
        if found is not None and counts[found.language] <= MAX_SHARE * told
    ]
    outliers.sort(key=lambda item: -item[1].probability)
    return Languages(counts=dict(counts.most_common()), outliers=tuple(outliers))


@cache
def _identifier() -> Any:
    # Half a second and 60 MB, which only those pay who ask for a language.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    try:
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    except OSError as error:
        raise CorpusError(
            f"py3langid cannot unpack its model into {tempfile.gettempdir()}: {error.strerror or error}; "
            "make room there, or set TMPDIR to another folder"
        ) from error
