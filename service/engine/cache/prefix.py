"""Which page holds the keys and values of which tokens, so that equal beginnings are computed once.

A page is named by a chain: `key_i = blake2b(key_(i-1) || token ids of page i)`, from a root made of all else that keys
and values depend on. Equal keys therefore mean equal content, and nothing crosses tenants or adapters.
"""

import json
from array import array
from collections.abc import Sequence
from hashlib import blake2b

_KEY_BYTES = 32


PrefixRoot = tuple[str, tuple[tuple[str, float], ...]]
"""What keys and values depend on besides the tokens, and who may see them: the tenant, then digest and scale of each
adapter that acts, in order."""


class PrefixChain:
    """The keys of one sequence's pages, each computed once, as far as they were asked for."""

    def __init__(self, root: PrefixRoot, page_tokens: int) -> None:
        self.keys: list[bytes] = []
        self._page_tokens = page_tokens
        self._last = _root_key(root)

    def key(self, number: int, token_ids: Sequence[int]) -> bytes:
        """The key of the sequence's page `number`, all of whose tokens are in `token_ids`."""
        while len(self.keys) <= number:
            start = len(self.keys) * self._page_tokens
            tokens = array("I", token_ids[start : start + self._page_tokens])
            assert len(tokens) == self._page_tokens
            self._last = blake2b(self._last + tokens.tobytes(), digest_size=_KEY_BYTES).digest()
            self.keys.append(self._last)
        return self.keys[number]


class PrefixIndex:
    """Pages by key; a key has one page, and a page one key."""

    def __init__(self) -> None:
        self._pages: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}

    def __contains__(self, page: int) -> bool:
        return page in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def match(self, chain: PrefixChain, token_ids: Sequence[int], max_pages: int) -> list[int]:
        """The longest run of indexed pages that hold the beginning of `token_ids`, at most `max_pages` of them."""
        pages: list[int] = []
        while len(pages) < max_pages:
            page = self._pages.get(chain.key(len(pages), token_ids))
            if page is None:
                break
            pages.append(page)
        return pages

    def insert(self, key: bytes, page: int) -> int:
        """The page of that key: the one that is indexed already, else `page`, from now on."""
        held = self._pages.setdefault(key, page)
        if held == page:
            self._keys[page] = key
        return held

    def evict(self, page: int) -> None:
        """Forgets what the page holds."""
        del self._pages[self._keys.pop(page)]

    def discard(self, page: int) -> None:
        """As `evict`, where it holds something."""
        if page in self:
            self.evict(page)

    def check_integrity(self) -> None:
        """Both directions agree.

        Raises:
            AssertionError: they do not.
        """
        assert {page: key for key, page in self._pages.items()} == self._keys
        assert len(self._pages) == len(self._keys)


def _root_key(root: PrefixRoot) -> bytes:
    tenant, adapters = root
    # JSON keeps the parts apart: no tenant's name can pass for another tenant and an adapter.
    text = json.dumps([tenant, [[digest, float(scale)] for digest, scale in adapters]])
    return blake2b(text.encode(), digest_size=_KEY_BYTES).digest()
