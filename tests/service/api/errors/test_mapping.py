import errno

import pytest

from adapters.errors import AdapterError, UnknownAdapterError
from base.errors import BaseModelError
from corpus.errors import CorpusError
from evaluation.errors import EvaluationError
from service.api.errors.mapping import problem_of
from service.engine.errors import EngineError, QueueFullError
from storage.errors import DamagedFolderError, StorageError, StorageUnavailableError, UnknownFolderError

TREES = (AdapterError, BaseModelError, CorpusError, EngineError, EvaluationError, StorageError)


def kinds(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


@pytest.mark.parametrize("kind", [kind for root in TREES for kind in kinds(root)])
def test_every_error_of_every_package_has_a_place(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    if isinstance(error, QueueFullError):
        error = QueueFullError(8, 3)
    problem = problem_of(error)
    assert problem.code != "internal_error"
    assert problem.status not in (408, 409)
    assert (problem.status in (429, 503)) == (problem.retry_after_seconds is not None)


def test_an_unforeseen_error_keeps_its_details_to_itself() -> None:
    problem = problem_of(RuntimeError("password=1234"))
    assert (problem.status, problem.code) == (500, "internal_error")
    assert "1234" not in problem.message


def test_a_full_disk_is_told_as_such_and_other_faults_of_the_system_are_not() -> None:
    full, missing = OSError(errno.ENOSPC, "no space", "/srv/secret"), OSError(errno.ENOENT, "gone", "/srv/secret")
    assert [(problem_of(error).status, problem_of(error).code) for error in (full, missing)] == [
        (507, "storage_full"),
        (500, "internal_error"),
    ]
    assert "secret" not in problem_of(full).message


def test_files_of_an_adapter_that_are_gone_or_changed_are_the_servers_fault() -> None:
    for error in (DamagedFolderError("of host db.internal"), UnknownFolderError("0" * 64)):
        problem = problem_of(error)
        assert (problem.status, problem.code) == (500, "adapter_load_failed")
        assert "internal" not in problem.message


def test_a_lost_database_asks_to_come_back() -> None:
    problem = problem_of(StorageUnavailableError("select 1 from secret on host db.internal"))
    assert (problem.status, problem.retry_after_seconds) == (503, 5)
    assert "secret" not in problem.message
    assert "internal" not in problem.message


def test_the_message_of_a_domain_error_reaches_the_client() -> None:
    problem = problem_of(UnknownAdapterError("suport", ["support"]))
    assert problem.status == 404
    assert problem.message == "there is no adapter 'suport'; did you mean 'support'?"
