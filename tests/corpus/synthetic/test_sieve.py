from collections.abc import Callable
from dataclasses import replace

import pytest

from corpus.duplicates import near_duplicates
from corpus.records import Record
from corpus.synthetic.drafts import Draft, Dropped
from corpus.synthetic.form import AnswerForm
from corpus.synthetic.judging import Judging, Opinion
from corpus.synthetic.seeds import SeedSet, seeds_of
from corpus.synthetic.sieve import Sieve, SieveOptions

MakeChat = Callable[..., Record]


def draft(record: Record) -> Draft:
    return Draft(record=record, sources=("a.jsonl:1",), source_text="")


def reason_of(sieve: Sieve, record: Record) -> str | None:
    try:
        sieve.check(draft(record))
    except Dropped as dropped:
        return dropped.reason
    return None


@pytest.fixture
def sieve(banking: SeedSet, chat: MakeChat) -> Sieve:
    held_out = [chat("Has the card that I ordered been sent out?", "card_arrival", 9)]
    return Sieve(banking, held_out, SieveOptions())


@pytest.mark.parametrize(
    ("prompt", "label", "reason"),
    [
        ("Has my card left your office already?", "card_arrival", None),
        ("Where is my new card", "card_arrival", "seed"),
        ("Has the card that I ordered been sent out yet?", "card_arrival", "held_out"),
        ("My card?", "card_arrival", "too_short"),
        ("Has my card left your office already, or not? " * 2, "card_arrival", "too_long"),
        ("Has my card left\x07 your office?", "card_arrival", "characters"),
        ("Has my card left? <|im_end|>", "card_arrival", "control_tokens"),
        ("Wo bleibt denn die Karte, die Sie mir schicken wollten?", "card_arrival", "language"),
        ("Has my card left your office already?", "lost_card", "format"),
        ("Which transfer do I cancel first?", "card_arrival", "other_class"),
    ],
)
def test_each_fault_has_its_reason(sieve: Sieve, chat: MakeChat, prompt: str, label: str, reason: str | None) -> None:
    assert reason_of(sieve, chat(prompt, label, label=label)) == reason


def test_what_was_kept_is_known_to_what_follows(sieve: Sieve, chat: MakeChat) -> None:
    record = chat("Has my card left your office already?", "card_arrival", label="card_arrival")
    sieve.keep(record, "attempt 1")

    assert reason_of(sieve, record) == "repeated"


def test_the_frame_makes_no_two_prompts_alike(chat: MakeChat) -> None:
    schema = "\n\n" + "orders(id, day, customer, product, quantity, status)\n" * 4
    texts = ["How many orders?", "Which customers bought lamps?", "When was the last order shipped?"]
    seeds = seeds_of([chat(text + schema, "SELECT 1") for text in texts])

    assert (
        reason_of(Sieve(seeds, [], SieveOptions()), chat("Name every product ever sold." + schema, "SELECT 2")) is None
    )


def test_nothing_kept_is_a_near_duplicate_for_the_check_of_data(banking: SeedSet, chat: MakeChat) -> None:
    sieve = Sieve(banking, [], SieveOptions(max_similarity=1.0, max_characters=500))
    sentence = "the card that you have sent to me last week by post has still not come to my new address"
    words = sentence.split()
    kept: list[Record] = []
    for start in range(len(words)):
        for step in (0, 3, 5):
            text = " ".join(words[start:] + words[: max(start - step, 0)])
            record = chat(f"{text}?", "card_arrival", label="card_arrival")
            if reason_of(sieve, record) is None:
                sieve.keep(record, "x")
                kept.append(record)

    assert len(kept) > 2
    assert near_duplicates(kept) == ()


def test_bounds_can_be_given(banking: SeedSet, chat: MakeChat) -> None:
    record = chat("My card?", "card_arrival", label="card_arrival")

    assert reason_of(Sieve(banking, [], SieveOptions(min_characters=3, max_similarity=0.9)), record) is None


def test_answers_have_the_form_of_the_seeds() -> None:
    form = AnswerForm.of(['{"queue": "a", "note": "x"}', '{"queue": "b"}'])

    assert form.fault('{"queue": "c"}') is None
    assert form.fault("queue c") == "no JSON object"
    assert form.fault('{"note": "x"}') == "the key 'queue' is missing"
    assert form.fault('{"queue": "c", "mood": 1}') == "the key 'mood' is in no seed"
    assert AnswerForm.of(["one", "two"]).fault("one\ntwo") == "several lines"
    assert AnswerForm.of(["one", '{"a": 1}']).fault("free text") is None


@pytest.mark.parametrize(("score", "passes"), [(0.5, True), (0.49, False), (None, False)])
def test_a_judge_lets_through_what_it_rates_well(chat: MakeChat, score: float | None, passes: bool) -> None:
    judging = Judging(name="judge", rate=lambda _draft: Opinion(score=score, reason="so"), least=0.5)
    if passes:
        assert judging.check(draft(chat("a", "b"))).score == score
        return
    with pytest.raises(Dropped) as dropped:
        judging.check(draft(chat("a", "b")))
    assert dropped.value.reason == "judge"


FRAME = "Say which class it is of, out of those you know, and nothing more than that: {}\nClass number {}"


@pytest.mark.parametrize(
    "held_out",
    [
        ["You are a bank's assistant. Sort this message into one of seventy-seven classes.\n\n{question}\n\nClass:"],
        [FRAME.format("{question}", 0), *(FRAME.format(f"other {n}", n) for n in range(3))],
    ],
    ids=["one row", "rows that share it"],
)
def test_a_held_out_question_is_found_behind_another_instruction(
    banking: SeedSet, chat: MakeChat, held_out: list[str]
) -> None:
    question = "Has my card left your office already?"
    rows = [chat(text.format(question=question), "card_arrival", at) for at, text in enumerate(held_out)]
    sieve = Sieve(banking, rows, SieveOptions())
    assert reason_of(sieve, chat(question, "card_arrival", label="card_arrival")) == "held_out"
    assert reason_of(sieve, chat("Is my card on its way to me by now?", "card_arrival", label="card_arrival")) is None


def test_rows_that_share_their_earlier_turns_are_not_alike_for_it(chat: MakeChat) -> None:
    rules = {"role": "system", "content": "You answer for a shop that sells lamps. " * 12}
    rows = [
        replace(chat(text, "SELECT 1"), messages=(rules, *chat(text, "SELECT 1").messages))
        for text in ("How many orders?", "Which customers bought lamps?", "Name every product ever sold.")
    ]
    sieve = Sieve(seeds_of(rows[:2]), [], SieveOptions(min_characters=1, max_characters=1000))
    assert reason_of(sieve, rows[2]) is None
