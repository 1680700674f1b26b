"""Errors of the domain packages as problems that a client is told."""

from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from adapters.errors import (
    AdapterError,
    AliasInUseError,
    BaseMismatchError,
    InvalidAdapterError,
    InvalidNameError,
    NoEarlierVersionError,
    UnknownAdapterError,
    UnknownAliasError,
    UnknownVersionError,
)
from base.errors import BaseModelError, RenderingError
from corpus.errors import CorpusError
from evaluation.errors import EvaluationError, SamplerError, UnknownMetricError
from service.api.errors import ApiError, Problem
from service.engine.errors import (
    AdapterLoadError,
    DeadlineError,
    EngineClosedError,
    EngineError,
    EngineFailedError,
    InvalidAdaptersError,
    InvalidGrammarError,
    InvalidPromptError,
    PromptTooLongError,
    QueueFullError,
    TooManyPinsError,
)
from storage.errors import StorageError

_RETRY_AFTER_SECONDS = 5
_STATUS_AND_CODE: dict[type[Exception], tuple[int, str]] = {
    InvalidNameError: (400, "invalid_name"),
    UnknownAdapterError: (404, "model_not_found"),
    UnknownVersionError: (404, "model_not_found"),
    UnknownAliasError: (404, "model_not_found"),
    BaseMismatchError: (400, "adapter_base_mismatch"),
    InvalidAdapterError: (400, "invalid_adapter"),
    # 409 would fit, but clients repeat it by themselves.
    AliasInUseError: (400, "alias_in_use"),
    NoEarlierVersionError: (400, "no_earlier_version"),
    AdapterError: (400, "adapter_error"),
    InvalidPromptError: (400, "invalid_prompt"),
    PromptTooLongError: (400, "context_length_exceeded"),
    InvalidGrammarError: (400, "invalid_grammar"),
    InvalidAdaptersError: (400, "invalid_adapters"),
    TooManyPinsError: (400, "too_many_pins"),
    DeadlineError: (504, "deadline_exceeded"),
    AdapterLoadError: (500, "adapter_load_failed"),
    EngineFailedError: (500, "engine_failed"),
    EngineError: (500, "engine_error"),
    UnknownMetricError: (400, "unknown_metric"),
    SamplerError: (500, "evaluation_failed"),
    EvaluationError: (400, "invalid_evaluation"),
    CorpusError: (400, "invalid_data"),
    RenderingError: (400, "invalid_messages"),
    BaseModelError: (500, "base_error"),
}
ROOTS = (
    AdapterError,
    BaseModelError,
    CorpusError,
    EngineError,
    EvaluationError,
    OperationalError,
    StorageError,
)
"""Every error that `problem_of` knows is one of these."""


def problem_of(error: Exception) -> Problem:
    """What a client is told about an error; of an unforeseen one it learns only that it happened."""
    if isinstance(error, ApiError):
        return error.problem
    for kind in type(error).__mro__:
        if kind in _SPECIAL:
            return _SPECIAL[kind](error)
        if kind in _STATUS_AND_CODE:
            status, code = _STATUS_AND_CODE[kind]
            return Problem(status=status, message=str(error), code=code)
    return Problem(
        status=500, message="the server failed in an unforeseen way; its log has the details", code="internal_error"
    )


def _queue_full(error: Exception) -> Problem:
    assert isinstance(error, QueueFullError)
    return Problem(status=429, message=str(error), code="queue_full", retry_after_seconds=error.retry_after_seconds)


def _closed(error: Exception) -> Problem:
    return Problem(status=503, message=str(error), code="server_draining", retry_after_seconds=_RETRY_AFTER_SECONDS)


def _no_storage(_error: Exception) -> Problem:
    # The error's own text names addresses and files of the server.
    return Problem(
        status=503,
        message="the registry cannot be reached at the moment",
        code="storage_unavailable",
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )


_SPECIAL: dict[type, Callable[[Exception], Problem]] = {
    QueueFullError: _queue_full,
    EngineClosedError: _closed,
    OperationalError: _no_storage,
    StorageError: _no_storage,
}
