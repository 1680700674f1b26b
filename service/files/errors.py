"""What can go wrong with files.

FilesError
├── UnknownFileError      the tenant has no such file
├── InvalidFileError      its name or format cannot be used
│   └── EmptyUploadError  it has no bytes
├── FileTooLargeError     it has more bytes than are allowed here
├── TooManyFilesError     the tenant has as many as are allowed
└── FileInUseError        a job that has not ended reads it
"""

from service.errors import ServiceError


class FilesError(ServiceError):
    """Root of every error that this package raises for its callers."""


class UnknownFileError(FilesError):
    """The tenant has no such file."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"there is no file {file_id[:80]!r}; GET /v1/files lists those that exist")


class InvalidFileError(FilesError):
    """The name or format of a file cannot be used."""


class EmptyUploadError(InvalidFileError):
    """A file has no bytes."""

    def __init__(self, filename: str) -> None:
        super().__init__(f"{filename} is empty; send a file with at least one row")


class FileTooLargeError(FilesError):
    """A file has more bytes than are allowed here."""

    def __init__(self, filename: str, limit_bytes: int) -> None:
        super().__init__(
            f"{filename} has more than {limit_bytes:,} bytes, the limit here: divide it into several files "
            "(training_files takes a list), or let the operator raise LORAD_MAX_FILE_BYTES"
        )


class TooManyFilesError(FilesError):
    """The tenant has as many files as are allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit:,} files are stored, the limit here: delete some, or let the operator raise LORAD_MAX_FILES"
        )


class FileInUseError(FilesError):
    """A job that has not ended reads the file."""

    def __init__(self, file_id: str, job_id: str) -> None:
        super().__init__(f"{file_id} is read by job {job_id}; cancel it or let it end, then delete the file")
        self.job_id = job_id
