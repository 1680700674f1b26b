from concurrent.futures import Future
from typing import Any

from service.engine.request import Grammar
from service.engine.sampling.grammar_cache import GrammarCache

GRAMMARS = [Grammar("regex", text) for text in "abcd"]


def cache_of(grammars: list[Grammar], max_bytes: int = 30_000) -> GrammarCache:
    cache = GrammarCache(max_bytes)
    for grammar in grammars:
        cache.put(grammar, Future[Any]())
        cache.keep(grammar, 5_000)
    return cache


def test_the_least_recently_used_goes_first() -> None:
    cache = cache_of(GRAMMARS[:3])
    assert cache.get(GRAMMARS[0]) is not None
    cache.put(GRAMMARS[3], Future())
    cache.keep(GRAMMARS[3], 5_000)
    assert [cache.get(grammar) is not None for grammar in GRAMMARS] == [True, False, True, True]


def test_what_is_being_compiled_stays() -> None:
    cache = GrammarCache(1)
    cache.put(GRAMMARS[0], Future())
    cache.put(GRAMMARS[1], Future())
    cache.keep(GRAMMARS[1], 5_000)
    assert [cache.get(grammar) is not None for grammar in GRAMMARS[:2]] == [True, False]


def test_what_is_dropped_is_forgotten() -> None:
    cache = cache_of(GRAMMARS[:1])
    cache.drop(GRAMMARS[0])
    cache.drop(GRAMMARS[0])
    assert cache.get(GRAMMARS[0]) is None
    assert len(cache) == 0


def test_small_grammars_are_bounded_in_number() -> None:
    cache = GrammarCache(100_000)
    for number in range(1000):
        grammar = Grammar("regex", str(number))
        cache.put(grammar, Future())
        cache.keep(grammar, 0)
    assert 0 < len(cache) <= 25
