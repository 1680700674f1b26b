import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from corpus.dataset import load
from evaluation.arena.battle import Ballot, Battle, Winner
from evaluation.arena.pairs import preference_pairs
from tests.evaluation.arena.conftest import QUESTION, answer


def ballot(counts: Mapping[Winner, int], a: str = "yes", b: str = "no", model: str = "a:1") -> Ballot:
    battle = Battle(
        id="battle-1",
        created_at=datetime.now(UTC),
        messages=({"role": "system", "content": "Be short."}, *QUESTION),
        a=answer(model, a),
        b=answer("base", b),
        generation={},
    )
    return Ballot(battle, counts)


def test_the_answer_with_more_votes_is_chosen() -> None:
    first, second = preference_pairs([ballot({"a": 2, "b": 1, "tie": 5}), ballot({"b": 1})])

    assert (first["chosen"], first["rejected"], first["chosen_model"]) == ("yes", "no", "a:1")
    assert (second["chosen"], second["rejected"], second["chosen_model"]) == ("no", "yes", "base")


def test_what_teaches_nothing_is_left_out() -> None:
    undecided: list[Mapping[Winner, int]] = [{"tie": 3}, {"a": 1, "b": 1}, {}]
    ballots = [ballot(counts) for counts in undecided]

    assert list(preference_pairs([*ballots, ballot({"a": 1}, b="yes"), ballot({"a": 1}, b=" \n")])) == []


def test_a_margin_can_be_asked_for() -> None:
    ballots = [ballot({"a": 3, "b": 1}), ballot({"a": 2, "b": 1})]

    assert [row["votes"] for row in preference_pairs(ballots, min_margin=2)] == [{"a": 3, "b": 1}]


def test_battles_of_some_models_can_be_asked_for() -> None:
    ballots = [ballot({"a": 1}), ballot({"a": 1}, model="b:1")]

    assert [row["chosen_model"] for row in preference_pairs(ballots, ["b:1"])] == ["b:1"]
    assert len(list(preference_pairs(ballots, ["base"]))) == 2


def test_the_rows_are_read_as_preferences(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in preference_pairs([ballot({"a": 1})] * 2)))

    records = load(path).records

    assert len(records) == 2
    assert [message["role"] for message in records[0].messages] == ["system", "user", "assistant"]
    assert records[0].completion == "yes"
    assert records[0].rejected is not None
    assert records[0].rejected["content"] == "no"
