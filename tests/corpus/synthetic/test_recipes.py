from collections.abc import Callable
from random import Random

import pytest

from corpus.records import Record
from corpus.synthetic.documents import Passage
from corpus.synthetic.drafts import Dropped
from corpus.synthetic.recipes.paraphrase import Paraphrase
from corpus.synthetic.recipes.questions import Questions
from corpus.synthetic.recipes.recipe import turn_of
from corpus.synthetic.recipes.self_instruct import SelfInstruct
from corpus.synthetic.rows import RowWriter
from corpus.synthetic.seeds import SeedSet, seeds_of
from tests.corpus.synthetic.conftest import BANKING, Scripted

PASSAGE = Passage(text="The pool opens at seven on weekdays and at nine on Sundays.", file="pool.md", line=3)


def test_every_seed_has_its_turn_once_a_round() -> None:
    rounds = [[turn_of(number, 5, seed=1) for number in range(start, start + 5)] for start in (0, 5)]

    assert [sorted(each) for each in rounds] == [[0, 1, 2, 3, 4]] * 2
    assert rounds[0] != rounds[1]


def test_a_paraphrase_keeps_its_seeds_answer_and_names_it_first(banking: SeedSet) -> None:
    for number in range(4):
        seed = banking.seeds[turn_of(number, 4, 0)]
        model = Scripted(f"Tell me: {seed.core}")

        draft = model.draft(Paraphrase(banking, RowWriter(banking), seed=0), number)

        assert draft.record.row == {"text": f"Tell me: {seed.core}", "label": seed.record.label}
        assert draft.sources[0] == f"a.jsonl:{seed.record.line}"
        assert model.asks[0].text.endswith(f"Message: {seed.core}\nIn other words:")
        assert model.asks[0].stop == ("\n",)


def test_a_paraphrase_shows_a_pair_of_another_class_as_its_example(banking: SeedSet) -> None:
    model = Scripted("Tell me: Where is my new card?" * 1)
    number = next(number for number in range(4) if turn_of(number, 4, 0) == 0)

    draft = model.draft(Paraphrase(banking, RowWriter(banking), seed=0), number)

    assert sorted(draft.sources[1:]) == ["a.jsonl:3", "a.jsonl:4"]
    assert BANKING[2][0] in model.asks[0].text
    assert BANKING[1][0] not in model.asks[0].text


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("Stop the transfer to Ana.", "lost_literal"),
        ("Please stop the transfer of 70 EUR to Ana, not 50.", "lost_literal"),
        ("Give 50 EUR to Ana.", "off_topic"),
        (
            "Please stop the transfer of 50 EUR to Ana. " + "I really mean it, do it soon, all my savings. " * 2,
            "too_long",
        ),
    ],
)
def test_a_paraphrase_that_says_something_else_is_dropped(banking: SeedSet, written: str, reason: str) -> None:
    number = next(number for number in range(4) if turn_of(number, 4, 0) == 3)

    with pytest.raises(Dropped) as dropped:
        Scripted(written).draft(Paraphrase(banking, RowWriter(banking), seed=0), number)

    assert dropped.value.reason == reason


def test_a_question_stays_a_question(banking: SeedSet) -> None:
    number = next(number for number in range(4) if turn_of(number, 4, 0) == 0)

    with pytest.raises(Dropped) as dropped:
        Scripted("My new card is where it is.").draft(Paraphrase(banking, RowWriter(banking), seed=0), number)

    assert dropped.value.reason == "other_kind"


def test_self_instruct_of_classes_draws_the_class_first(banking: SeedSet) -> None:
    model = Scripted("Is my card on its way?")
    number = next(number for number in range(4) if turn_of(number, 4, 0) == 1)

    draft = model.draft(SelfInstruct(banking, RowWriter(banking), seed=0), number)

    assert draft.record.row == {"text": "Is my card on its way?", "label": "card_arrival"}
    assert len(model.asks) == 1
    assert "about card arrival" in model.asks[0].text
    assert BANKING[2][0] not in model.asks[0].text


def test_self_instruct_of_other_rows_asks_for_prompt_and_answer(chat: Callable[..., Record]) -> None:
    seeds = seeds_of([chat(f"Add {n} and {n}.", f"{2 * n}", n) for n in range(1, 9)])
    model = Scripted("9. Add 3 and 4.", "7")

    draft = model.draft(SelfInstruct(seeds, RowWriter(seeds), seed=0))

    assert draft.record.row == {"prompt": "Add 3 and 4.", "completion": "7"}
    assert len(draft.sources) == 6
    assert model.asks[1].text.endswith("Task: Add 3 and 4.\nAnswer:")


def test_rows_of_several_lines_end_at_a_rule(chat: Callable[..., Record]) -> None:
    seeds = seeds_of([chat(f"Line {n}\nand {n} more", "a\nb", n) for n in range(1, 4)])
    model = Scripted("Line 9\nand less", "c\nd")

    draft = model.draft(SelfInstruct(seeds, RowWriter(seeds), seed=0))

    assert draft.record.row == {"prompt": "Line 9\nand less", "completion": "c\nd"}
    assert {ask.stop for ask in model.asks} == {("\n###",)}


def test_a_long_prompt_of_several_lines_gets_room_for_all_of_them(chat: Callable[..., Record]) -> None:
    long = "\n".join(f"Line {n}: card {n * n} and parcel {n + 7}." for n in range(40))
    seeds = seeds_of([chat(long, "yes")])
    model = Scripted(f"Hello,\n{long}")

    draft = model.draft(Paraphrase(seeds, RowWriter(seeds), seed=0))

    assert draft.record.prompt == f"Hello,\n{long}"
    assert model.asks[0].stop == ("\n###",)
    assert model.asks[0].max_tokens >= len(long) / 2


def test_conversations_keep_their_turns_and_tools(chat: Callable[..., Record]) -> None:
    first = Record(
        kind="chat",
        file="a.jsonl",
        line=1,
        row={},
        messages=(
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Where is my card?"},
            {"role": "assistant", "content": "In the post."},
        ),
        tools=({"type": "function"},),
    )
    seeds = seeds_of([first, chat("When?", "Soon.")])
    number = next(number for number in range(2) if turn_of(number, 2, 0) == 0)

    draft = Scripted("My card, where is it?").draft(Paraphrase(seeds, RowWriter(seeds), seed=0), number)

    assert draft.record.row["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "My card, where is it?"},
        {"role": "assistant", "content": "In the post."},
    ]
    assert draft.record.row["tools"] == [{"type": "function"}]


def test_a_question_and_its_answer_come_out_of_a_passage() -> None:
    model = Scripted("When does the pool open on Sundays?", "The pool opens at nine on Sundays.")

    draft = model.draft(Questions([PASSAGE], seed=0))

    assert draft.record.row == {
        "prompt": "When does the pool open on Sundays?",
        "completion": "The pool opens at nine on Sundays.",
    }
    assert draft.sources == ("pool.md:3",)


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("The pool opens at nine.", "Yes.", "other_kind"),
        ("When does the pool open according to the text?", "At nine.", "refers_to_text"),
        ("Who won the world cup of football?", "Brazil.", "off_topic"),
        ("When does the pool open?", "Nobody knows for certain.", "ungrounded"),
        ("When does the pool open?", "The pool opens at 11 on Sundays.", "ungrounded"),
    ],
)
def test_what_the_passage_does_not_carry_is_dropped(question: str, answer: str, reason: str) -> None:
    with pytest.raises(Dropped) as dropped:
        Scripted(question, answer).draft(Questions([PASSAGE], seed=0))

    assert dropped.value.reason == reason


def test_an_attempt_depends_on_its_number_and_random_state_alone(banking: SeedSet) -> None:
    recipe = SelfInstruct(banking, RowWriter(banking), seed=0)

    asks = [next(recipe.attempt(5, Random(5))) for _ in range(2)]

    assert asks[0] == asks[1]
    assert asks[0] != next(recipe.attempt(5, Random(6)))
