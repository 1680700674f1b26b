from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.engine.cache.prefix import PrefixChain, PrefixIndex, PrefixRoot

ROOT: PrefixRoot = ("default", ())


def key(root: PrefixRoot, token_ids: list[int], page_tokens: int = 2) -> bytes:
    return PrefixChain(root, page_tokens).key(len(token_ids) // page_tokens - 1, token_ids)


def test_equal_beginnings_have_equal_keys() -> None:
    assert key(ROOT, [1, 2, 3, 4]) == key(ROOT, [1, 2, 3, 4])


def test_a_key_depends_on_every_token_before_it() -> None:
    assert len({key(ROOT, [1, 2, 3, 4]), key(ROOT, [9, 2, 3, 4]), key(ROOT, [1, 2, 3, 9]), key(ROOT, [3, 4])}) == 4


def test_a_key_depends_on_the_tenant_and_on_each_adapter_and_its_scale() -> None:
    roots: list[PrefixRoot] = [
        ("default", ()),
        ("other", ()),
        ("default", (("a", 1.0),)),
        ("default", (("a", 0.5),)),
        ("default", (("b", 1.0),)),
        ("default", (("a", 1.0), ("b", 1.0))),
    ]
    assert len({key(root, [1, 2]) for root in roots}) == len(roots)


def test_no_tenant_can_take_a_name_that_gives_it_the_keys_of_another() -> None:
    names = ["x", 'x", [["a", 1.0]]]', "x\x00a", "x,a,1.0", ""]
    roots: list[PrefixRoot] = [(name, adapters) for name in names for adapters in ((), (("a", 1.0),))]
    assert len({key(root, [1, 2]) for root in roots}) == len(roots)


def test_a_scale_written_as_a_whole_number_is_the_same_scale() -> None:
    assert key(("t", (("a", 1),)), [1, 2]) == key(("t", (("a", 1.0),)), [1, 2])


def test_a_page_is_hashed_once() -> None:
    chain = PrefixChain(ROOT, 2)
    chain.key(2, [1, 2, 3, 4, 5, 6])
    assert chain.key(1, []) == key(ROOT, [1, 2, 3, 4])
    assert chain.key(3, [None, None, None, None, None, None, 7, 8]) == key(ROOT, [1, 2, 3, 4, 5, 6, 7, 8])  # type: ignore[list-item]


def test_a_match_ends_at_the_first_page_that_is_missing() -> None:
    index, chain, tokens = PrefixIndex(), PrefixChain(ROOT, 2), list(range(8))
    for number, page in ((0, 7), (1, 5), (3, 6)):
        index.insert(chain.key(number, tokens), page)
    assert index.match(PrefixChain(ROOT, 2), tokens, 4) == [7, 5]
    assert index.match(PrefixChain(ROOT, 2), tokens, 1) == [7]
    assert index.match(PrefixChain(ROOT, 2), [0, 9, 2, 3], 2) == []


def test_the_first_page_of_a_content_stays() -> None:
    index = PrefixIndex()
    assert index.insert(b"key", 1) == 1
    assert index.insert(b"key", 2) == 1
    assert 2 not in index


class Machine(RuleBasedStateMachine):
    """Beside a plain dictionary from content to page."""

    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex()
        self.model: dict[tuple[int, ...], int] = {}

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=3), page=st.integers(0, 5))
    def insert(self, tokens: list[int], page: int) -> None:
        if page not in self.model.values():
            assert self.index.insert(key(ROOT, tokens, 1), page) == self.model.setdefault(tuple(tokens), page)

    @rule(page=st.integers(0, 5))
    def evict(self, page: int) -> None:
        assert (page in self.index) == (page in self.model.values())
        if page in self.index:
            self.index.evict(page)
            self.model = {tokens: held for tokens, held in self.model.items() if held != page}

    @rule(tokens=st.lists(st.integers(0, 1), min_size=3, max_size=3), most=st.integers(0, 3))
    def match(self, tokens: list[int], most: int) -> None:
        expected: list[int] = []
        while len(expected) < most and tuple(tokens[: len(expected) + 1]) in self.model:
            expected.append(self.model[tuple(tokens[: len(expected) + 1])])
        assert self.index.match(PrefixChain(ROOT, 1), tokens, most) == expected

    @invariant()
    def sound(self) -> None:
        self.index.check_integrity()
        assert len(self.index) == len(self.model)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestPrefixIndex = Machine.TestCase
