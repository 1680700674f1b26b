"""Pages of the key-value cache: who holds which, and which of them keep a beginning that may come again.

A page is free (nobody's), held (in one block table or more) or idle (in none, but indexed, so that a sequence which
begins alike may take it up; evicted when no page is free). This is bookkeeping only, in plain Python: the tensors are
elsewhere, and page p has token slots `p * page_tokens` to `(p + 1) * page_tokens - 1` of them.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from service.engine.cache.prefix import PrefixChain, PrefixIndex, PrefixRoot

_CLEARED_TOGETHER = 32
"""Pages: clearing costs calls for each layer, and hardly more for many pages than for one."""


@dataclass(eq=False, kw_only=True)
class BlockTable:
    """The pages of one sequence, in the order of its tokens. `Pages` alone changes it."""

    pages: list[int]
    num_cached: int
    """Tokens at the beginning whose keys and values were there when the table was opened."""
    num_committed: int
    """Pages at the beginning that are full and computed."""
    num_queried: int
    """Tokens that were looked up at the opening, until they are counted."""
    chain: PrefixChain


class PagePool:
    """Reference counts of pages, and the order in which idle ones are evicted from the index.

    A page is handed out with zeros in it. Attention reads whole pages and masks what a sequence has not written yet,
    but a masked key or value that is not a number still spoils the sum. Nobody knows which pages hold such: logits are
    finite where the bad token lies outside a sliding window, or where its infinite key takes no part. So no page is
    trusted for the success of its last owner.
    """

    def __init__(self, num_pages: int, index: PrefixIndex) -> None:
        self._index = index
        self._counts = [0] * num_pages
        self._clear = list(reversed(range(num_pages)))
        """Free, with zeros in them."""
        self._used: list[int] = []
        """Free, with what their last owners left."""
        self._to_clear: list[int] = []
        """Of those in `_clear` or handed out: their zeros are still to be written."""
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def num_free(self) -> int:
        """Pages that can be had now, idle ones included."""
        return len(self._clear) + len(self._used) + len(self._idle)

    def allocate(self, num: int) -> list[int]:
        """So many pages, at most `num_free`: free ones first, then the idle ones that lay longest."""
        pages = [self._take() for _ in range(num)]
        self.share(pages)
        return pages

    def take_to_clear(self) -> list[int]:
        """Pages to be filled with zeros before anything is written into any of them."""
        pages, self._to_clear = self._to_clear, []
        return pages

    def share(self, pages: Sequence[int]) -> None:
        """Counts one more holder for each page."""
        for page in pages:
            self._counts[page] += 1
            self._idle.pop(page, None)

    def release(self, page: int) -> None:
        """Counts one holder less; without any the page is idle, or free where nothing is indexed."""
        self._counts[page] -= 1
        if self._counts[page] > 0:
            return
        if page in self._index:
            self._idle[page] = None
        else:
            self._used.append(page)

    def touch(self, page: int) -> None:
        """If the page is idle, it was used just now."""
        if page in self._idle:
            self._idle.move_to_end(page)

    def check_integrity(self, tables: Sequence[Sequence[int]]) -> None:
        """Every page is free, idle or held, and held as often as these tables say.

        Raises:
            AssertionError: something does not add up.
        """
        held = Counter(page for table in tables for page in table)
        assert all(count == held[page] for page, count in enumerate(self._counts))
        free = [*self._clear, *self._used]
        assert sorted([*free, *self._idle, *held]) == list(range(len(self._counts)))
        assert all(page in self._index for page in self._idle)
        assert not any(page in self._index for page in free)

    def _take(self) -> int:
        if not self._clear:
            self._clear = self._take_used() or self._evict()
            self._to_clear += self._clear
        return self._clear.pop()

    def _take_used(self) -> list[int]:
        pages = self._used[-_CLEARED_TOGETHER:]
        del self._used[-_CLEARED_TOGETHER:]
        return pages

    def _evict(self) -> list[int]:
        """The page that lay longest, and of a large cache some more."""
        num = max(1, min(_CLEARED_TOGETHER, len(self._idle) // _CLEARED_TOGETHER))
        pages = [self._idle.popitem(last=False)[0] for _ in range(num)]
        for page in pages:
            self._index.evict(page)
        return pages[::-1]


class Pages:
    """The cache's pages and the block tables over them; not thread-safe, one engine owns it."""

    def __init__(self, num_pages: int, page_tokens: int, prefix_caching: bool) -> None:
        self.num_pages = num_pages
        self.page_tokens = page_tokens
        self.prefix_caching = prefix_caching
        self.queries = 0
        """Tokens that admitted sequences looked up."""
        self.hits = 0
        """Those of them that were cached."""
        self._index = PrefixIndex()
        self._pool = PagePool(num_pages, self._index)
        self._tables: set[BlockTable] = set()

    @property
    def num_free(self) -> int:
        """Pages that can be had now, those included that only keep a prefix."""
        return self._pool.num_free

    @property
    def usage(self) -> float:
        """Share of the pages that block tables hold, 0 to 1."""
        return 1 - self.num_free / self.num_pages

    def open(self, root: PrefixRoot, token_ids: Sequence[int], max_cached_tokens: int) -> BlockTable:
        """A table for a sequence that begins with these tokens, sharing the pages that hold its beginning already.

        At most `max_cached_tokens` are taken from the cache, so that the caller can have something left to compute.
        """
        chain = PrefixChain(root, self.page_tokens)
        num_queried = min(max_cached_tokens, len(token_ids)) if self.prefix_caching else 0
        pages = self._index.match(chain, token_ids, num_queried // self.page_tokens)
        self._pool.share(pages)
        table = BlockTable(
            pages=pages,
            num_cached=len(pages) * self.page_tokens,
            num_committed=len(pages),
            num_queried=num_queried,
            chain=chain,
        )
        self._tables.add(table)
        return table

    def grow(self, table: BlockTable, num_tokens: int) -> bool:
        """Makes room for so many tokens in all; false, and nothing changed, where pages are lacking."""
        missing = -(-num_tokens // self.page_tokens) - len(table.pages)
        if missing <= 0:
            return True
        if missing > self._pool.num_free:
            return False
        table.pages += self._pool.allocate(missing)
        self._count(table)
        return True

    def commit(self, table: BlockTable, token_ids: Sequence[int], num_computed: int) -> None:
        """The keys and values of the first `num_computed` tokens are in the table's pages: full ones may be shared.

        Where the same content is indexed under another page already, that one stays.
        """
        num_full = num_computed // self.page_tokens
        if num_full <= table.num_committed:
            return
        assert num_full <= len(table.pages)
        if self.prefix_caching:
            for number in range(table.num_committed, num_full):
                self._index.insert(table.chain.key(number, token_ids), table.pages[number])
        table.num_committed = num_full

    def close(self, table: BlockTable, *, keep: bool = True) -> None:
        """Gives the table's pages back; those that are full and computed stay cached while nobody needs the room.

        Without `keep` none stays: they led to something that nobody should start from.
        """
        self._tables.remove(table)
        # From the end, so that of a chain the last page is evicted first: it is of no use without those before it.
        for number in reversed(range(len(table.pages))):
            if keep:
                self._give_back(table, number)
            else:
                self._index.discard(table.pages[number])
                self._pool.release(table.pages[number])
        table.pages = []

    def take_to_clear(self) -> list[int]:
        """Pages to be filled with zeros before the next step writes into them."""
        return self._pool.take_to_clear()

    def check_integrity(self) -> None:
        """Counts, order and index agree with the open tables.

        Raises:
            AssertionError: they do not.
        """
        self._index.check_integrity()
        self._pool.check_integrity([table.pages for table in self._tables])
        for table in self._tables:
            assert len(set(table.pages)) == len(table.pages)
            assert table.num_cached // self.page_tokens <= table.num_committed <= len(table.pages)

    def _count(self, table: BlockTable) -> None:
        # At the first growth, not at the opening: a sequence that finds no room opens again and again.
        if table.num_queried:
            self.queries += table.num_queried
            self.hits += table.num_cached
            table.num_queried = 0

    def _give_back(self, table: BlockTable, number: int) -> None:
        page = table.pages[number]
        if self.prefix_caching and number < table.num_committed:
            # Another page may hold the same content: this use keeps that one in the cache, with the pages after it.
            # Or it held it and was evicted: then this one takes its place, else the pages after it could not be found.
            self._pool.touch(self._index.insert(table.chain.keys[number], page))
        self._pool.release(page)
