"""One thing to ask a model, and what it should have said."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from corpus.messages import Message
from evaluation.errors import CaseError
from evaluation.scorers.spec import ScorerSpec


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
    choices: tuple[tuple[int, ...], ...] = ()
    """Multiple choice: tokens of each continuation of `choice_context_ids`."""
    choice_texts: tuple[str, ...] = ()
    """The same as text."""
    choice_context_ids: tuple[int, ...] = ()
    """Multiple choice: everything before the choice."""
    gold: int | None = None
    """Index of the right choice."""
    fields: Mapping[str, JsonValue] = field(default_factory=dict)
    """What the scorers read beside: a label, a schema, a set-up script."""
    messages: tuple[Message, ...] = ()
    """The question as a conversation, for a judge."""
    scorers: tuple[ScorerSpec, ...] | None = None
    """In place of the evaluation's."""
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
        if len(self.choices) != len(self.choice_texts) or not all(self.choices):
            raise CaseError(f"case {self.index}: a choice has no tokens; each must be a text that is not empty.")

    @property
    def num_labelled(self) -> int:
        """How many tokens count for the loss."""
        return len(self.continuation_ids) if self.labelled is None else sum(self.labelled)
