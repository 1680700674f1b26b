from corpus.synthetic.novelty import Novelty

LONG = "Dear team, the hub that I bought last week loses its connection every evening around seven o'clock."


def test_equal_after_normalisation_is_not_new() -> None:
    known = Novelty(max_similarity=1.0)
    known.add("Where is my card?", "held_out", "test.jsonl:4")

    near = known.nearest("  where is MY card ")

    assert near is not None
    assert (near.origin, near.place, near.similarity) == ("held_out", "test.jsonl:4", 1.0)


def test_similar_from_the_bound_on_is_not_new() -> None:
    known = Novelty(max_similarity=0.8)
    known.add("where is my new card", "seed", "a:1")

    assert known.nearest("where is my old card") is not None  # 4 of 5 words in order: 0.8
    assert known.nearest("where was my old card") is None


def test_the_nearest_of_several_is_named() -> None:
    known = Novelty(max_similarity=0.5)
    known.add("where is my new card", "seed", "a:1")
    known.add("where is my old blue card", "repeated", "attempt 2")

    near = known.nearest("where is my old red card")

    assert near is not None
    assert near.place == "attempt 2"


def test_a_text_put_together_otherwise_is_a_near_duplicate_all_the_same() -> None:
    first, second = LONG, "I have restarted it twice and changed the cable without any success so far at all."
    known = Novelty(max_similarity=0.99)
    known.add(f"{first} {second}", "held_out", "t:1")

    near = known.nearest(f"{second} {first}")

    assert near is not None
    assert near.similarity < 0.99


def test_the_class_of_the_nearest_is_its_own_where_both_are_as_near() -> None:
    known = Novelty()
    known.add("cancel my transfer", "seed", "a:1", "cancel_transfer")
    known.add("cancel my card", "seed", "a:2", "cancel_card")

    assert known.class_of_nearest("please cancel my card", "cancel_transfer") == "cancel_card"
    assert known.class_of_nearest("cancel my", "cancel_transfer") == "cancel_transfer"
    assert known.class_of_nearest("weather", "cancel_transfer") is None
