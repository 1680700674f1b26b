"""Votes as preference pairs, in the layout that `corpus.preferences` reads: rows for DPO."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from evaluation.arena.battle import Answer, Ballot


def preference_pairs(
    ballots: Iterable[Ballot], models: Collection[str] = (), min_margin: int = 1
) -> Iterator[dict[str, Any]]:
    """Turn each battle into one row: the conversation, the preferred answer and the other one.

    Left out are battles that were tied or won by less, and answers that are blank or the same: nothing is learnt there.

    Args:
        ballots: one of each battle.
        models: only battles in which one of these took part; empty: all.
        min_margin: by how many votes an answer has to lead, at least 1.
    """
    for ballot in ballots:
        battle, counts = ballot.battle, ballot.counts
        lead = counts.get("a", 0) - counts.get("b", 0)
        chosen, rejected = (battle.a, battle.b) if lead > 0 else (battle.b, battle.a)
        asked_for = not models or {battle.a.model, battle.b.model} & set(models)
        if asked_for and abs(lead) >= min_margin and _teaches(chosen, rejected):
            yield {
                "prompt": [dict(message) for message in battle.messages],
                "chosen": chosen.text,
                "rejected": rejected.text,
                "chosen_model": chosen.model,
                "rejected_model": rejected.model,
                "votes": dict(counts),
                "battle": battle.id,
            }


def _teaches(chosen: Answer, rejected: Answer) -> bool:
    return bool(chosen.text.strip() and rejected.text.strip()) and chosen.text != rejected.text
