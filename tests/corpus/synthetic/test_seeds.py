from collections.abc import Callable
from dataclasses import replace

import pytest

from corpus.records import Record
from corpus.synthetic.errors import SeedsError
from corpus.synthetic.seeds import SeedSet, seeds_of

SCHEMA = "\n\norders(id, day)\ncustomers(id, name)"


def test_what_every_prompt_begins_and_ends_with_is_set_aside(chat: Callable[..., Record]) -> None:
    asked = ["How many orders?", "Which customers?", "When was the last order?"]
    seeds = seeds_of([chat(f"Write SQL: {text}{SCHEMA}", "SELECT 1") for text in asked])

    assert [seed.core for seed in seeds.seeds] == asked
    assert seeds.messages(seeds.seeds[0], "Who?")[-1]["content"] == f"Write SQL: Who?{SCHEMA}"


def test_a_beginning_in_the_middle_of_a_sentence_is_no_frame(chat: Callable[..., Record]) -> None:
    texts = ["How do I pay?", "How do I leave?", "How do I stay?"]

    assert [seed.core for seed in seeds_of([chat(text, "so") for text in texts]).seeds] == texts


def test_two_prompts_have_no_frame(chat: Callable[..., Record]) -> None:
    assert seeds_of([chat(f"a{SCHEMA}", "1"), chat(f"b{SCHEMA}", "2")]).seeds[0].core == f"a{SCHEMA}"


def test_labels_are_classes_only_where_every_seed_has_one(banking: SeedSet, chat: Callable[..., Record]) -> None:
    assert banking.labels == {"card_arrival", "cancel_transfer"}
    assert seeds_of([chat("a", "x", label="x"), chat("b", "y")]).labels == frozenset()


def test_what_no_recipe_can_write_anew_is_refused_by_its_line(chat: Callable[..., Record]) -> None:
    good = chat("a", "b")
    text = Record(kind="text", file="a.jsonl", line=7, row={}, text="Once upon a time")
    pair = replace(good, line=8, rejected={"role": "assistant", "content": "c"})
    calls = replace(
        good, line=9, messages=(good.messages[0], {"role": "assistant", "content": None, "tool_calls": [{}]})
    )
    for record, place in ((text, "a.jsonl:7"), (pair, "a.jsonl:8"), (calls, "a.jsonl:9")):
        with pytest.raises(SeedsError, match=place):
            seeds_of([good, record])
    with pytest.raises(SeedsError, match="no seed row"):
        seeds_of([])
