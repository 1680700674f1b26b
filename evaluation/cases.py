"""One thing to ask a model, and what it should have said."""

from dataclasses import dataclass

from evaluation.errors import CaseError


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A tokenised test example; whoever owns the tokenizer makes it.

    Scoring and generation look at it from two sides, which differ for a conversation of several turns: every assistant
    turn is scored, only the last is generated.
    """

    index: int
    """The caller's number for it, such as the record's position."""
    prompt_text: str
    """For people."""
    reference: str
    """The expected text."""
    prompt_ids: tuple[int, ...] = ()
    """What generation starts from; empty for a case that is only scored."""
    context_ids: tuple[int, ...] = ()
    """Scoring: everything before the first labelled token, at least one token."""
    continuation_ids: tuple[int, ...] = ()
    """Scoring: everything from the first labelled token on; empty for a case that is only generated."""
    labelled: tuple[bool, ...] | None = None
    """Scoring: which continuation tokens count; None is all of them."""
    tags: tuple[str, ...] = ()
    """For grouping results."""

    def __post_init__(self) -> None:
        if self.labelled is not None and len(self.labelled) != len(self.continuation_ids):
            raise CaseError(
                f"case {self.index}: {len(self.labelled)} marks for {len(self.continuation_ids)} continuation tokens."
            )
        if self.continuation_ids and not self.context_ids:
            raise CaseError(
                f"case {self.index}: no context before the continuation; a sequence's first token has no prediction, "
                "so the context must hold at least one token."
            )

    @property
    def num_labelled(self) -> int:
        """How many tokens count for the loss."""
        return len(self.continuation_ids) if self.labelled is None else sum(self.labelled)
