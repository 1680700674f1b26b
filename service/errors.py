"""Errors of the service's own.

ServiceError
├── SettingsError   a setting is malformed, or does not go with another
├── RemoteError     a server that a command talks to answered with an error, or not at all
├── PreflightError  a run must not begin; the message names rows and fixes
└── ExportError     an adapter cannot be exported in this form, or the export did not answer as the adapter does
"""


class ServiceError(Exception):
    """Root of every error that the service itself raises for a user to read."""


class SettingsError(ServiceError):
    """A setting is malformed, or does not go with another."""


class RemoteError(ServiceError):
    """A server did not do what a command asked of it."""


class PreflightError(ServiceError):
    """A training run must not begin: its rows, or the way they meet the base, are not sound."""


class ExportError(ServiceError):
    """An adapter cannot be exported in this form here, or what was written did not answer as the adapter does."""
