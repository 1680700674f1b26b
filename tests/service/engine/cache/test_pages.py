from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.engine.cache.pages import BlockTable, Pages
from service.engine.cache.prefix import PrefixRoot

ROOT: PrefixRoot = ("default", ())


def run(pages: Pages, token_ids: list[int], root: PrefixRoot = ROOT) -> BlockTable:
    """A sequence that is computed as far as its tokens go."""
    table = pages.open(root, token_ids, len(token_ids) - 1)
    assert pages.grow(table, len(token_ids))
    pages.commit(table, token_ids, len(token_ids))
    return table


def num_cached(pages: Pages, token_ids: list[int], root: PrefixRoot = ROOT) -> int:
    table = pages.open(root, token_ids, len(token_ids))
    pages.close(table)
    return table.num_cached


def test_a_new_page_is_taken_only_when_the_last_one_is_full() -> None:
    pages = Pages(4, 2, prefix_caching=True)
    table = pages.open(ROOT, [1], 0)
    lengths = []
    for num_tokens in range(1, 6):
        assert pages.grow(table, num_tokens)
        lengths.append(len(table.pages))
    assert lengths == [1, 1, 2, 2, 3]


def test_low_pages_come_first() -> None:
    pages = Pages(8, 2, prefix_caching=True)
    assert run(pages, [1, 2, 3]).pages == [0, 1]
    assert run(pages, [4, 5, 6]).pages == [2, 3]


def test_growth_beyond_the_free_pages_changes_nothing() -> None:
    pages = Pages(3, 2, prefix_caching=True)
    held, table = run(pages, [1, 2]), run(pages, [3])
    assert not pages.grow(table, 5)
    assert (len(table.pages), pages.num_free) == (1, 1)
    pages.close(held)
    assert pages.grow(table, 5)


def test_usage_is_the_share_of_held_pages() -> None:
    pages = Pages(4, 2, prefix_caching=True)
    table = run(pages, [1, 2, 3])
    assert pages.usage == 0.5
    pages.close(table)
    assert pages.usage == 0


def test_an_equal_beginning_is_shared_while_it_runs_and_after() -> None:
    pages = Pages(8, 2, prefix_caching=True)
    first = run(pages, [1, 2, 3, 4, 5])
    second = pages.open(ROOT, [1, 2, 3, 4, 6], 4)
    assert (second.pages, second.num_cached) == (first.pages[:2], 4)
    pages.close(first)
    pages.close(second)
    assert pages.num_free == 8
    assert num_cached(pages, [1, 2, 3, 4]) == 4


def test_no_more_than_asked_for_comes_from_the_cache() -> None:
    pages = Pages(8, 2, prefix_caching=True)
    run(pages, [1, 2, 3, 4])
    assert [pages.open(ROOT, [1, 2, 3, 4], most).num_cached for most in (0, 1, 2, 3, 4)] == [0, 0, 2, 2, 4]


@pytest.mark.parametrize("root", [("other", ()), ("default", (("digest", 1.0),))])
def test_other_tenants_and_adapters_share_nothing(root: PrefixRoot) -> None:
    pages = Pages(8, 2, prefix_caching=True)
    mine, theirs = run(pages, [1, 2, 3, 4]), run(pages, [1, 2, 3, 4], root)
    assert not set(mine.pages) & set(theirs.pages)


def test_what_is_not_computed_is_not_shared() -> None:
    pages = Pages(8, 2, prefix_caching=True)
    table = pages.open(ROOT, [1, 2, 3, 4], 3)
    assert pages.grow(table, 4)
    pages.commit(table, [1, 2, 3, 4], 3)
    pages.close(table)
    assert num_cached(pages, [1, 2, 3, 4]) == 2


def test_answers_are_cached_with_their_prompts() -> None:
    pages = Pages(8, 2, prefix_caching=True)
    table, tokens = run(pages, [1, 2, 3]), [1, 2, 3]
    for token in (4, 5, 6):
        tokens.append(token)
        assert pages.grow(table, len(tokens))
        pages.commit(table, tokens, len(tokens))
    assert num_cached(pages, tokens) == 6


def test_sequences_that_compute_the_same_at_once_keep_one_page_of_it() -> None:
    pages = Pages(8, 2, prefix_caching=True)
    tables = [pages.open(ROOT, [1, 2], 1) for _ in range(2)]
    for table in tables:
        assert pages.grow(table, 2)
    for table in tables:
        pages.commit(table, [1, 2], 2)
    kept = tables[0].pages
    pages.close(tables[0])
    pages.close(tables[1])
    assert pages.open(ROOT, [1, 2], 2).pages == kept
    assert pages.num_free == 7


def test_free_pages_are_taken_before_cached_ones() -> None:
    pages = Pages(4, 2, prefix_caching=True)
    pages.close(run(pages, [1, 2]))
    pages.close(run(pages, [3, 4, 5, 6, 7, 8]))
    assert num_cached(pages, [1, 2]) == 2
    run(pages, [9])
    assert num_cached(pages, [3, 4, 5, 6, 7, 8]) == 4


def test_the_longest_unused_content_is_evicted_first_and_of_a_chain_its_end() -> None:
    pages = Pages(4, 2, prefix_caching=True)
    old, new = [1, 2, 3, 4], [5, 6, 7, 8]
    pages.close(run(pages, new))
    pages.close(run(pages, old))
    pages.close(run(pages, new))
    left = []
    for token in (91, 92, 93, 94):
        run(pages, [token])
        left.append((len(pages._index), len(pages._index.match(pages.open(ROOT, [], 0).chain, old, 2))))
    assert left == [(3, 1), (2, 0), (1, 0), (0, 0)]


def test_an_end_is_not_lost_with_the_evicted_twin_of_its_beginning() -> None:
    pages = Pages(4, 2, prefix_caching=True)
    twins = [pages.open(ROOT, [1, 2], 1) for _ in range(2)]
    for table in twins:
        assert pages.grow(table, 2)
        pages.commit(table, [1, 2], 2)
    pages.close(twins[0])
    assert pages.grow(twins[1], 4)
    pages.commit(twins[1], [1, 2, 3, 4], 4)
    filler = pages.open(ROOT, [9], 0)
    assert pages.grow(filler, 4)
    pages.close(twins[1])
    assert num_cached(pages, [1, 2, 3, 4]) == 4


def test_the_beginning_of_a_longer_chain_outlives_its_end_whoever_computed_it() -> None:
    pages = Pages(3, 2, prefix_caching=True)
    twins = [pages.open(ROOT, [1, 2], 0) for _ in range(2)]
    for table in twins:
        assert pages.grow(table, 2)
        pages.commit(table, [1, 2], 2)
    pages.close(twins[0])
    assert pages.grow(twins[1], 4)
    pages.commit(twins[1], [1, 2, 3, 4], 4)
    pages.close(twins[1])
    filler = pages.open(ROOT, [9], 0)
    assert pages.grow(filler, 4)
    assert num_cached(pages, [1, 2, 3, 4]) == 2


def test_hits_count_for_those_who_found_room() -> None:
    pages = Pages(3, 2, prefix_caching=True)
    pages.close(run(pages, [1, 2, 3, 4]))
    assert (pages.hits, pages.queries) == (0, 3)
    refused = pages.open(ROOT, [1, 2, 3, 4, 5, 6, 7], 6)
    assert not pages.grow(refused, 7)
    pages.close(refused)
    assert (pages.hits, pages.queries) == (0, 3)
    run(pages, [1, 2, 3, 4, 5])
    assert (pages.hits, pages.queries) == (4, 7)


def test_without_prefix_caching_nothing_is_kept_or_counted() -> None:
    pages = Pages(4, 2, prefix_caching=False)
    pages.close(run(pages, [1, 2, 3, 4]))
    assert num_cached(pages, [1, 2, 3, 4]) == 0
    assert (pages.hits, pages.queries) == (0, 0)
    pages.check_integrity()


def test_pages_that_were_used_are_cleared_before_others_get_them() -> None:
    pages = Pages(100, 2, prefix_caching=True)
    first, second = run(pages, list(range(180))), run(pages, [1])
    assert pages.take_to_clear() == []
    pages.close(first)
    third = run(pages, list(range(200, 240)))
    # Many at once; those that are handed out and those that will be next.
    cleared = pages.take_to_clear()
    assert set(third.pages) - set(range(91, 100)) <= set(cleared)
    assert not set(cleared) & set(second.pages)
    assert pages.take_to_clear() == []


def test_what_led_to_no_answer_is_not_kept_for_others() -> None:
    pages = Pages(8, 2, prefix_caching=True)
    good = run(pages, [1, 2, 3, 4])
    bad = run(pages, [1, 2, 5, 6])
    pages.close(bad, keep=False)
    pages.check_integrity()
    assert num_cached(pages, [1, 2, 5, 6]) == 0
    pages.close(good)
    assert num_cached(pages, [1, 2, 3, 4]) == 4
    pages.check_integrity()


def test_a_large_cache_gives_up_few_pages_more_than_are_needed() -> None:
    pages = Pages(400, 2, prefix_caching=True)
    pages.close(run(pages, list(range(800))))
    run(pages, [-1 + 1000, 1001])
    assert len(pages.take_to_clear()) == 12
    assert num_cached(pages, list(range(800))) == 2 * (400 - 12)


def test_a_table_closes_once() -> None:
    pages = Pages(4, 2, prefix_caching=True)
    table = run(pages, [1])
    pages.close(table)
    with pytest.raises(KeyError):
        pages.close(table)


NUM_PAGES, PAGE_TOKENS = 7, 2
ROOTS: list[PrefixRoot] = [("mine", ()), ("theirs", ()), ("mine", (("digest", 1.0),))]
Content = tuple[PrefixRoot, tuple[int, ...]]
"""What a token slot holds depends on the root and on all tokens up to its own."""


@dataclass
class Sequence:
    root: PrefixRoot
    tokens: list[int]
    table: BlockTable
    computed: int
    num_queried: int
    admitted: bool = False

    def content(self, num_tokens: int) -> Content:
        return self.root, tuple(self.tokens[:num_tokens])

    def full(self) -> list[Content]:
        return [self.content(end) for end in range(PAGE_TOKENS, self.computed + 1, PAGE_TOKENS)]


class Machine(RuleBasedStateMachine):
    """Beside a cache of real contents, slot by slot, and a list of what should be cached where."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = Pages(NUM_PAGES, PAGE_TOKENS, prefix_caching=True)
        self.sequences: list[Sequence] = []
        self.slots: dict[int, Content] = {}
        self.cached: dict[Content, int] = {}
        self.used: dict[Content, int] = {}
        self.clock = self.hits = self.queries = 0
        self.has_gaps = False

    @rule(data=st.data(), root=st.sampled_from(ROOTS), tokens=st.lists(st.integers(0, 1), min_size=1, max_size=8))
    def open(self, data: st.DataObject, root: PrefixRoot, tokens: list[int]) -> None:
        # Taking less than there is makes sequences compute the same content beside each other.
        most = data.draw(st.sampled_from([len(tokens) - 1, len(tokens) // 2, 0]))
        table = self.pages.open(root, tokens, most)
        expected: list[int] = []
        while (end := (len(expected) + 1) * PAGE_TOKENS) <= most and (root, tuple(tokens[:end])) in self.cached:
            expected.append(self.cached[root, tuple(tokens[:end])])
        assert table.pages == expected
        assert table.num_cached == PAGE_TOKENS * len(expected)
        self.sequences.append(Sequence(root, tokens, table, table.num_cached, most))

    @precondition(lambda self: self.sequences)
    @rule(data=st.data(), new=st.lists(st.integers(0, 1), max_size=3), share=st.floats(0, 1))
    def compute(self, data: st.DataObject, new: list[int], share: float) -> None:
        """The prompt's rest, or a part of it, or an answer's tokens."""
        sequence = data.draw(st.sampled_from(self.sequences))
        if sequence.computed == len(sequence.tokens):
            sequence.tokens += new
        target = sequence.computed + round(share * (len(sequence.tokens) - sequence.computed))
        if self.grow(sequence, target):
            self.write(sequence, target)
            self.pages.commit(sequence.table, sequence.tokens, target)

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        sequence = self.sequences.pop(data.draw(st.integers(0, len(self.sequences) - 1)))
        held = list(sequence.table.pages)
        self.pages.close(sequence.table)
        self.clock += 1
        for content, page in zip(sequence.full(), held, strict=False):
            self.cached.setdefault(content, page)
            self.used[content] = self.clock

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def close_without_keeping(self, data: st.DataObject) -> None:
        sequence = self.sequences.pop(data.draw(st.integers(0, len(self.sequences) - 1)))
        held = set(sequence.table.pages)
        self.pages.close(sequence.table, keep=False)
        # Idle pages after one of these cannot be found until it is there again; they are evicted as they would be.
        self.has_gaps |= bool(held & set(self.cached.values()))
        self.cached = {content: page for content, page in self.cached.items() if page not in held}

    def grow(self, sequence: Sequence, target: int) -> bool:
        before = list(sequence.table.pages)
        missing = max(0, -(-target // PAGE_TOKENS) - len(before))
        num_free, idle = NUM_PAGES - len(self.held()), self.idle()
        grown = self.pages.grow(sequence.table, target)
        assert grown == (missing <= num_free)
        new = sequence.table.pages[len(before) :]
        assert sequence.table.pages == before + new
        assert len(new) == (missing if grown else 0)
        assert self.held() >= set(new)
        if new:
            evicted = idle[: max(0, missing - (num_free - len(idle)))]
            assert {self.cached.pop(content) for content in evicted} <= set(new)
            self.count(sequence)
        return grown

    def count(self, sequence: Sequence) -> None:
        if not sequence.admitted:
            sequence.admitted = True
            self.queries += sequence.num_queried
            self.hits += sequence.table.num_cached

    def write(self, sequence: Sequence, target: int) -> None:
        for position in range(sequence.computed, target):
            page = sequence.table.pages[position // PAGE_TOKENS]
            assert not any(page in other.table.pages for other in self.sequences if other is not sequence)
            self.slots[page * PAGE_TOKENS + position % PAGE_TOKENS] = sequence.content(position + 1)
        first = sequence.computed // PAGE_TOKENS
        sequence.computed = target
        # Only pages that became full: what was full before is indexed again when the sequence ends.
        for content, page in list(zip(sequence.full(), sequence.table.pages, strict=False))[first:]:
            self.cached.setdefault(content, page)

    def held(self) -> set[int]:
        return {page for sequence in self.sequences for page in sequence.table.pages}

    def idle(self) -> list[Content]:
        """What may be evicted, in that order."""
        held = self.held()
        contents = [content for content, page in self.cached.items() if page not in held]
        return sorted(contents, key=lambda content: (self.used[content], -len(content[1])))

    @invariant()
    def sound(self) -> None:
        self.pages.check_integrity()

    @invariant()
    def every_computed_token_is_where_the_table_says(self) -> None:
        for sequence in self.sequences:
            for position in range(sequence.computed):
                slot = sequence.table.pages[position // PAGE_TOKENS] * PAGE_TOKENS + position % PAGE_TOKENS
                assert self.slots[slot] == sequence.content(position + 1)

    @invariant()
    def what_is_cached_is_known(self) -> None:
        assert len(self.pages._index) == len(self.cached)
        assert all(page in self.pages._index for page in self.cached.values())

    @invariant()
    def an_idle_page_never_outlives_those_before_it(self) -> None:
        held = self.held()
        for root, tokens in self.idle():
            before = [(root, tokens[:end]) in self.cached for end in range(PAGE_TOKENS, len(tokens), PAGE_TOKENS)]
            assert self.has_gaps or all(before)
        assert self.pages.num_free == NUM_PAGES - len(held)
        assert self.pages.usage == pytest.approx(len(held) / NUM_PAGES)

    @invariant()
    def hits_are_counted(self) -> None:
        assert (self.pages.hits, self.pages.queries) == (self.hits, self.queries)


Machine.TestCase.settings = settings(max_examples=80, stateful_step_count=40)
TestPages = Machine.TestCase
