"""Opens the registry that the settings name."""

from adapters.registry import Registry
from service.settings import Settings
from storage.database import Database
from storage.folders import FolderStore


def open_registry(settings: Settings) -> Registry:
    """The registry of `settings`, its database migrated to this version.

    Raises:
        StorageError: the database cannot be reached, or a newer lorad wrote it.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.registry_url)
    database.migrate()
    return Registry(database, FolderStore(settings.adapters))
