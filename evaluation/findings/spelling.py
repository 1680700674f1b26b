"""Misspelled words of English answers.

A word counts as misspelled if neither the word list (pyspellchecker's, MIT) nor the question and the expected answer
have it, and one wrong letter away stands a frequent word, or one of the question's or the expected answer's. The second
half keeps names, jargon and new words out, which no list holds.
"""

import re
from collections.abc import Sequence
from functools import cache

from spellchecker import SpellChecker

from corpus.language import guess

_LANGUAGE = "en"
_WORD = re.compile(r"[a-z]{5,}")
"""Lower case only, so that names are left alone; in short words any letter leads to another word."""
_AROUND = ".,;:!?()\"'*\u201c\u201d\u2018\u2019\u2026"
_FENCED = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_FREQUENT = 100
"""Times that the list's source, subtitles, has a word."""
_BRITISH = (("our", "or"), ("is", "iz"), ("ys", "yz"), ("ll", "l"), ("tre", "ter"), ("ogue", "og"), ("ence", "ense"))
"""The list is American."""


def misspelled(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The misspelled words of a text, in order; none unless it is English with some certainty.

    Args:
        text: an answer; code in it is left out.
        known: texts whose words are right.
    """
    words = dict.fromkeys(each for each in _words(_FENCED.sub(" ", text)) if not _is_word(each))
    if not words:
        return ()
    right = {word for each in known for word in _words(each)}
    found = tuple(word for word in words if word not in right and _near(word, right))
    language = guess(text) if found else None
    return found if language is not None and language.language == _LANGUAGE else ()


def _words(text: str) -> list[str]:
    bare = (each.strip(_AROUND) for each in text.split())
    return [word for word in bare if _WORD.fullmatch(word)]


def _is_word(word: str) -> bool:
    return word in _list() or any(word.replace(british, american) in _list() for british, american in _BRITISH)


def _near(word: str, right: set[str]) -> bool:
    return any(each in right or _list()[each] >= _FREQUENT for each in _list().edit_distance_1(word))


@cache
def _list() -> SpellChecker:
    return SpellChecker(language=_LANGUAGE, distance=1)
