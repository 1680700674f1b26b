"""Opens the files that the settings name."""

from service.files.files import Files, Uses
from service.settings import Settings
from storage.database import Database
from storage.objects.opening import open_objects

_ABANDONED_SECONDS = 24 * 3600.0


def open_files(settings: Settings, database: Database, uses: Uses) -> Files:
    """The files of `settings`, after what killed uploads left on this machine is removed.

    Args:
        settings: where bytes are kept, and the bounds.
        database: migrated.
        uses: who forbids a deletion.

    Raises:
        StorageError: the store's address is malformed, or it cannot be reached.
    """
    files = Files(
        database,
        open_objects(settings.objects),
        cache=settings.file_cache,
        max_bytes=settings.max_file_bytes,
        max_files=settings.max_files,
        uses=uses,
    )
    files.sweep(_ABANDONED_SECONDS)
    return files
