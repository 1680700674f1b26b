"""Compiled grammars that requests share."""

from collections import OrderedDict
from concurrent.futures import Future

import xgrammar

from service.engine.request import Grammar

_ENTRY_BYTES = 4096
"""Charged for any grammar, so that small ones are bounded in number; a text counts besides."""


class GrammarCache:
    """Futures by grammar; of the finished ones the least recently used go first. Not for several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._futures: OrderedDict[Grammar, Future[xgrammar.CompiledGrammar]] = OrderedDict()
        self._bytes: dict[Grammar, int] = {}

    def __len__(self) -> int:
        return len(self._futures)

    def get(self, grammar: Grammar) -> "Future[xgrammar.CompiledGrammar] | None":
        """The future of a grammar that is being compiled or was."""
        found = self._futures.get(grammar)
        if found is not None:
            self._futures.move_to_end(grammar)
        return found

    def put(self, grammar: Grammar, future: "Future[xgrammar.CompiledGrammar]") -> None:
        """Adds one that is being compiled, which stays until `keep` or `drop`."""
        self._futures[grammar] = future

    def keep(self, grammar: Grammar, num_bytes: int) -> None:
        """Says that it is compiled and how large it is; makes room."""
        self._bytes[grammar] = num_bytes + len(grammar.text) + _ENTRY_BYTES
        while sum(self._bytes.values()) > self._max_bytes:
            self.drop(next(kept for kept in self._futures if kept in self._bytes))

    def drop(self, grammar: Grammar) -> None:
        """Forgets it."""
        self._futures.pop(grammar, None)
        self._bytes.pop(grammar, None)
