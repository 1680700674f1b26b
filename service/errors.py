"""Errors of the service's own: settings and remote calls.

ServiceError
├── SettingsError   a setting is malformed, or does not go with another
└── RemoteError     a server that a command talks to answered with an error, or not at all
"""


class ServiceError(Exception):
    """Root of every error that the service itself raises for a user to read."""


class SettingsError(ServiceError):
    """A setting is malformed, or does not go with another."""


class RemoteError(ServiceError):
    """A server did not do what a command asked of it."""
