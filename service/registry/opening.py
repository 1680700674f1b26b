"""Opens the database, the object store and the registry that the settings name."""

from pathlib import Path

from adapters.digest import adapter_digest, folder_key
from adapters.errors import InvalidAdapterError
from adapters.registry import Registry
from service.settings import Settings
from storage.database import Database
from storage.errors import DamagedFolderError
from storage.folders import FolderStore
from storage.objects.opening import is_remote, open_objects
from storage.shared_folders import SharedFolders


def open_registry(settings: Settings) -> Registry:
    """The registry of `settings`, its database migrated to this version.

    Raises:
        StorageError: the database cannot be reached, or a newer lorad wrote it.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.registry_url)
    database.migrate()
    return Registry(database, _folders(settings))


def _folders(settings: Settings) -> FolderStore:
    if not is_remote(settings.objects):
        return FolderStore(settings.adapters)
    return SharedFolders(
        open_objects(settings.objects),
        settings.adapters,
        digest=_key,
        max_cache_bytes=settings.adapter_cache_bytes,
    )


def _key(folder: Path) -> str:
    try:
        return folder_key(adapter_digest(folder))
    except InvalidAdapterError as error:
        raise DamagedFolderError(f"{folder} is not an adapter version: {error}") from error
