"""The preflight over files that lie on the server, told with the names that their owner gave them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from base.source import locate
from corpus.dataset import Dataset, load_files
from corpus.errors import CorpusError
from corpus.sources import Source
from service.api.errors.problem import ApiError, Problem, invalid
from service.api.state import ServerState
from service.files.errors import UnknownFileError
from service.jobs.request import WeightedFile
from service.preflight.run import PreflightRequest, fly
from training.config import AskedConfig
from training.rows.cache import TokenCache


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What is to be looked at."""

    training: Sequence[WeightedFile]
    validation_file: str | None
    config: AskedConfig


def preflight_of(state: ServerState, tenant: str, looked: Looked) -> dict[str, Any]:
    """What a job over these files would meet on this server's base. Takes seconds and the rows' memory.

    Raises:
        ApiError: 404, there is no such file; 400, a file as a whole cannot be used.
        BaseModelError: the base cannot be read.
    """
    files = _Files(state, tenant)
    settings = state.settings
    flight = fly(
        PreflightRequest(
            train=files.dataset(looked.training, "training_file"),
            validation=None
            if looked.validation_file is None
            else files.dataset([WeightedFile(file=looked.validation_file)], "validation_file"),
            source=locate(settings.base_model, settings.bases, lambda _line: None),
            device=settings.device,
            dtype=settings.dtype,
            quantization=settings.quantization,
            config=looked.config,
            token_cache=TokenCache(settings.token_cache),
        )
    )
    told = with_names(flight.preflight.to_json(), files.names)
    assert isinstance(told, dict)
    return told


def with_names(value: Any, names: Mapping[str, str]) -> Any:
    """`value` with every path of the server, in any text at any depth, replaced by the name it stands for."""
    if isinstance(value, str):
        for path, name in names.items():
            value = value.replace(path, name)
        return value
    if isinstance(value, Mapping):
        return {with_names(key, names): with_names(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_names(item, names) for item in value]
    return value


class _Files:
    """One tenant's files as data sets, and what each path stands for."""

    def __init__(self, state: ServerState, tenant: str) -> None:
        self._files = state.files
        self._tenant = tenant
        self.names: dict[str, str] = {}

    def dataset(self, files: Sequence[WeightedFile], param: str) -> Dataset:
        sources = [self._source(each, param) for each in files]
        try:
            return load_files(sources, skip_bad=True)
        except CorpusError as error:
            raise invalid(with_names(str(error), self.names), param=param, code="invalid_training_file") from error

    def _source(self, file: WeightedFile, param: str) -> Source:
        try:
            stored = self._files.get(self._tenant, file.file)
            path = self._files.local_copy(self._tenant, file.file)
        except UnknownFileError as error:
            raise ApiError(Problem(status=404, message=str(error), code="file_not_found", param=param)) from error
        self.names[str(path)] = stored.filename
        return Source(path, file.weight)
