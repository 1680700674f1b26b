"""Errors of the domain packages as problems that a client is told."""

import errno
from collections.abc import Callable

from adapters.errors import (
    AdapterError,
    AliasInUseError,
    AliasMovedError,
    BaseMismatchError,
    InvalidAdapterError,
    InvalidNameError,
    InvalidSearchError,
    InvalidTagError,
    NoEarlierVersionError,
    SigningKeyError,
    UnknownAdapterError,
    UnknownAliasError,
    UnknownVersionError,
    UntrustedArchiveError,
)
from base.errors import BaseModelError, RenderingError
from corpus.errors import CorpusError
from evaluation.arena.errors import (
    AlreadyVotedError,
    TooFewModelsError,
    TooManyBattlesError,
    UnknownBattleError,
    UnknownContestantError,
)
from evaluation.errors import (
    CaseTooLongError,
    ComparisonError,
    EvaluationError,
    GateError,
    JudgeUnavailableError,
    SamplerError,
    UnknownMetricError,
)
from evaluation.runs.errors import RunStateError, StaleRunError, TooManyRunsError, UnknownRunError
from evaluation.suites.errors import InvalidSuiteError, TooManySuitesError, UnknownSuiteError
from service.api.errors.problem import ApiError, Problem
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
from service.files.errors import (
    FileInUseError,
    FilesError,
    FileTooLargeError,
    InvalidFileError,
    TooManyFilesError,
    UnknownFileError,
)
from service.gate.errors import GatesError, TooManyGatesError, UnknownCheckError, UnknownGateError
from service.generation.errors import (
    GenerationError,
    GenerationStateError,
    TooManyGenerationsError,
    UnknownGenerationError,
)
from service.jobs.errors import IdempotencyError, JobsError, JobStateError, TooManyJobsError, UnknownJobError
from storage.errors import (
    DamagedFolderError,
    InvalidTextError,
    StorageError,
    StorageFullError,
    UnknownFolderError,
)

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
    InvalidTagError: (400, "invalid_tag"),
    SigningKeyError: (500, "signing_unavailable"),
    UntrustedArchiveError: (400, "untrusted_archive"),
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
    UnknownBattleError: (404, "battle_not_found"),
    UnknownContestantError: (404, "model_not_found"),
    AlreadyVotedError: (400, "already_voted"),
    TooFewModelsError: (400, "too_few_models"),
    TooManyBattlesError: (400, "too_many_battles"),
    SamplerError: (500, "evaluation_failed"),
    ComparisonError: (400, "invalid_comparison"),
    CaseTooLongError: (400, "context_length_exceeded"),
    UnknownRunError: (404, "evaluation_not_found"),
    RunStateError: (400, "invalid_evaluation_state"),
    StaleRunError: (400, "evaluation_cancelled"),
    # As of jobs, below: waiting helps, but not for seconds.
    TooManyRunsError: (400, "too_many_open_evaluations"),
    InvalidSuiteError: (400, "invalid_suite"),
    UnknownSuiteError: (404, "suite_not_found"),
    TooManySuitesError: (400, "too_many_suites"),
    EvaluationError: (400, "invalid_evaluation"),
    GateError: (400, "invalid_gate"),
    JudgeUnavailableError: (400, "judge_unavailable"),
    UnknownGateError: (404, "gate_not_found"),
    UnknownCheckError: (404, "gate_not_found"),
    TooManyGatesError: (400, "too_many_gates"),
    GatesError: (400, "invalid_gate"),
    CorpusError: (400, "invalid_data"),
    RenderingError: (400, "invalid_messages"),
    BaseModelError: (500, "base_error"),
    UnknownFileError: (404, "file_not_found"),
    InvalidFileError: (400, "invalid_file"),
    FileTooLargeError: (413, "file_too_large"),
    TooManyFilesError: (400, "too_many_files"),
    FileInUseError: (400, "file_in_use"),
    FilesError: (400, "invalid_file"),
    UnknownGenerationError: (404, "generation_not_found"),
    GenerationStateError: (400, "invalid_generation_state"),
    TooManyGenerationsError: (400, "too_many_generations"),
    GenerationError: (500, "generation_error"),
    UnknownJobError: (404, "job_not_found"),
    # 409 would fit, but clients repeat it by themselves; as below.
    JobStateError: (400, "invalid_job_state"),
    # Waiting helps, but not for the seconds after which clients repeat a 429.
    TooManyJobsError: (400, "too_many_jobs"),
    IdempotencyError: (400, "idempotency_key_reused"),
    JobsError: (500, "job_error"),
}
_PARAMS: dict[type[Exception], str] = {
    InvalidFileError: "file",
    FileTooLargeError: "file",
    GateError: "policy",
    TooManyFilesError: "file",
    AlreadyVotedError: "battle",
    TooFewModelsError: "models",
}
"""What of the request is to blame, where that is the same whatever the route."""
ROOTS = (
    AdapterError,
    BaseModelError,
    CorpusError,
    EngineError,
    EvaluationError,
    FilesError,
    GatesError,
    GenerationError,
    JobsError,
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
            return Problem(status=status, message=str(error), code=code, param=_PARAMS.get(kind))
    return _unforeseen()


def _unforeseen() -> Problem:
    return Problem(
        status=500, message="the server failed in an unforeseen way; its log has the details", code="internal_error"
    )


def _queue_full(error: Exception) -> Problem:
    assert isinstance(error, QueueFullError)
    return Problem(status=429, message=str(error), code="queue_full", retry_after_seconds=error.retry_after_seconds)


def _alias_moved(error: Exception) -> Problem:
    return Problem(status=400, message=str(error), code="alias_moved", param="expected")


def _invalid_search(error: Exception) -> Problem:
    assert isinstance(error, InvalidSearchError)
    return Problem(status=400, message=str(error), code="invalid_search", param=error.param)


def _closed(error: Exception) -> Problem:
    return Problem(status=503, message=str(error), code="server_draining", retry_after_seconds=_RETRY_AFTER_SECONDS)


def _no_storage(_error: Exception) -> Problem:
    # The error's own text names addresses and files of the server.
    return Problem(
        status=503,
        message="the database or the object store cannot be reached at the moment",
        code="storage_unavailable",
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )


def _full(_error: Exception) -> Problem:
    return Problem(
        status=507, message="the server's storage is full; its operator has to free some", code="storage_full"
    )


def _system_error(error: Exception) -> Problem:
    assert isinstance(error, OSError)
    return _full(error) if error.errno in (errno.ENOSPC, errno.EDQUOT) else _unforeseen()


def _invalid_text(error: Exception) -> Problem:
    return Problem(status=400, message=str(error), code="invalid_value")


def _damaged(_error: Exception) -> Problem:
    # The error's own text names places in the server's store.
    return Problem(
        status=500,
        message="the adapter's files are missing or not what was published; its operator has to publish it again",
        code="adapter_load_failed",
    )


_SPECIAL: dict[type, Callable[[Exception], Problem]] = {
    AliasMovedError: _alias_moved,
    InvalidSearchError: _invalid_search,
    QueueFullError: _queue_full,
    EngineClosedError: _closed,
    OSError: _system_error,
    InvalidTextError: _invalid_text,
    DamagedFolderError: _damaged,
    UnknownFolderError: _damaged,
    StorageFullError: _full,
    StorageError: _no_storage,
}
