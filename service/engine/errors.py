"""Errors of the engine. Routes map them to HTTP; the engine itself knows none.

EngineError
├── PromptTooLongError   prompt and new tokens do not fit the context
├── InvalidPromptError   a prompt without tokens, or with one that the base does not have
├── InvalidGrammarError  a grammar that cannot be compiled, or not within its bounds
├── InvalidAdaptersError adapters that cannot act together, or not at that scale
├── QueueFullError       too many requests wait
├── DeadlineError        the request's time is over
├── AdapterLoadError     an adapter cannot be brought into memory
├── TooManyPinsError     one more pinned adapter would leave no room for others
├── EngineConfigError    bounds that do not fit the base or each other
├── UnsupportedBaseError a base whose attention the cache does not know
├── EngineClosedError    the engine is shutting down
└── EngineFailedError    a batch failed inside; a defect, not the caller's fault
"""


class EngineError(Exception):
    """Root of every error that a request can end with."""


class PromptTooLongError(EngineError):
    """Prompt and new tokens together exceed the context.

    Attributes:
        prompt_tokens: tokens of the prompt.
        max_tokens: new tokens asked for.
        context_tokens: the model's limit on their sum.
    """

    def __init__(self, prompt_tokens: int, max_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and {max_tokens} new ones are asked for, "
            f"but the context of this base is {context_tokens} tokens; shorten the prompt or lower max_tokens"
        )
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.context_tokens = context_tokens


class InvalidPromptError(EngineError):
    """The prompt cannot be put to the model; sent on, it would fail the whole batch."""


class InvalidGrammarError(EngineError):
    """The answer's grammar cannot be compiled."""


class InvalidAdaptersError(EngineError):
    """The request's adapters cannot act together, or not at the wanted scale."""


class QueueFullError(EngineError):
    """As many requests wait as may."""

    def __init__(self, limit: int, retry_after_seconds: int) -> None:
        super().__init__(f"{limit} requests are waiting, which is the limit; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class DeadlineError(EngineError):
    """The request's time was over before its answer was complete.

    Attributes:
        timeout_seconds: how long it had.
    """

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(f"the answer was not complete within {timeout_seconds:g} s, which is this request's timeout")
        self.timeout_seconds = timeout_seconds


class AdapterLoadError(EngineError):
    """The adapter's files could not be brought into memory."""


class EngineClosedError(EngineError):
    """The engine takes no more requests."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; send the request again to another one, or later")


class EngineFailedError(EngineError):
    """A batch raised something unforeseen; the server's log has the traceback."""


class EngineConfigError(EngineError):
    """The engine's bounds do not fit the base or each other."""


class UnsupportedBaseError(EngineError):
    """The base computes attention in a way that the engine's cache does not know."""


class TooManyPinsError(EngineError):
    """One more pinned adapter would leave no room for others."""

    def __init__(self, num_pinned: int, limit: int) -> None:
        super().__init__(
            f"{num_pinned} adapters are pinned and {limit} is the limit (max_loras less one, so that others find a "
            "slot); unload one, or raise max_loras"
        )
