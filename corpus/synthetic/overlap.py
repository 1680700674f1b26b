"""How much two texts have in common, word by word and in order: ROUGE-L (Lin 2004) over lorad's own words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import log

from corpus.shingles import words


def rouge_l(first: Sequence[str], second: Sequence[str]) -> float:
    """Return the F1 of the longest common subsequence, between 0 and 1; 0 where either is empty."""
    if not first or not second:
        return 0.0
    return 2 * common_length(first, second) / (len(first) + len(second))


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, a whole row at a time in one integer (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for position, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << position
    whole = (1 << len(first)) - 1
    row = whole
    for word in second:
        met = row & places.get(word, 0)
        row = (row + met | row - met) & whole
    return len(first) - row.bit_count()


def share_of(words_of: str, text: str) -> float:
    """Return which share of the distinct words of one text stands in another; 0 for a text without words."""
    own = set(words(words_of))
    return len(own & set(words(text))) / len(own) if own else 0.0


class WordWeights:
    """How much each word tells about the topic of a text, by how few of the known texts hold it.

    Args:
        texts: At least one.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        found = [set(words(text)) for text in texts]
        self._holding = Counter(word for each in found for word in each)
        self._num_texts = len(found)

    def share(self, words_of: str, text: str) -> float:
        """As `share_of`, each word by its weight."""
        own, other = set(words(words_of)), set(words(text))
        whole = sum(map(self._weight, own))
        return sum(map(self._weight, own & other)) / whole if whole else 0.0

    def _weight(self, word: str) -> float:
        return log(1 + self._num_texts / (1 + self._holding[word]))
