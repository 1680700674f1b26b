"""From a job to what `lorad train --spec` reads."""

from collections.abc import Mapping
from pathlib import Path

from corpus.sources import Source
from service.files.files import Files
from service.jobs.job import Job
from service.settings import Settings
from service.training.spec import TrainingSpec

_NAME = "job.json"


def bring_files(job: Job, files: Files) -> dict[str, Path]:
    """The job's files on this machine, by id.

    Raises:
        UnknownFileError: a file was deleted.
        StorageError: the store is away.
    """
    return {file_id: files.local_copy(job.tenant, file_id) for _, file_id in job.request.named_files()}


def write_spec(job: Job, files: Mapping[str, Path], settings: Settings, output: Path) -> Path:
    """Writes the specification beside `output`; gives its path.

    The base and how it is loaded are the operator's choice, so that the server's base answers with the adapter.

    Args:
        job: what is asked for.
        files: its files on this machine, by id.
        settings: of the worker.
        output: the folder that the adapter is to lie in.
    """
    request = job.request
    spec = TrainingSpec(
        data=tuple(Source(files[each.file], each.weight) for each in request.training),
        validation=None if request.validation_file is None else files[request.validation_file],
        base_model=settings.base_model,
        device=settings.device,
        dtype=settings.dtype,
        quantization=settings.quantization,
        output=output,
        tenant=job.tenant,
        resume=True,
        config=request.config(),
    )
    path = output.parent / _NAME
    # Only what was said: the command fills in the rest as it would for a person.
    path.write_text(spec.model_dump_json(exclude_unset=True), encoding="utf-8")
    return path
