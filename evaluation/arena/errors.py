"""What can go wrong in the arena.

EvaluationError
└── ArenaError
    ├── UnknownBattleError    there is no such battle
    ├── UnknownContestantError  no battle with a vote had the model
    ├── AlreadyVotedError     the voter has voted on this battle
    ├── TooFewModelsError     fewer than two different models could meet
    └── TooManyBattlesError   a tenant keeps as many battles or ratings as it may
"""

from evaluation.errors import EvaluationError


class ArenaError(EvaluationError):
    """Root of what the arena raises."""


class UnknownBattleError(ArenaError):
    """There is no such battle."""

    def __init__(self, battle_id: str) -> None:
        super().__init__(f"there is no battle {battle_id[:80]!r}; lorad arena list shows those there are")


class UnknownContestantError(ArenaError):
    """No battle of the tenant had the model."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"no battle had a model {model[:120]!r}; name it as battles do, pinned: lorad arena leaderboard shows them"
        )


class AlreadyVotedError(ArenaError):
    """The voter has voted on this battle, and knows by now who is who."""

    def __init__(self, battle_id: str, voter: str) -> None:
        super().__init__(f"{voter!r} has voted on {battle_id}; a battle takes one vote of each voter")


class TooFewModelsError(ArenaError):
    """Fewer than two different models could meet."""

    def __init__(self, names: str) -> None:
        super().__init__(
            f"a battle needs two different models, and here there is only {names}; "
            "publish an adapter, or name two versions"
        )


class TooManyBattlesError(ArenaError):
    """A tenant keeps as many battles or ratings as it may."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{limit:,} {what} are kept, which is the limit; export those there are and delete some")
