"""Errors of the base package.

BaseModelError
├── UnknownBaseError      no catalogue entry, folder or hub id of that name
├── FetchError            a download or its digest failed
├── InvalidBaseError      the folder is not a usable base
├── UnsupportedError      the device, dtype or quantisation cannot be had here
└── RenderingError        the chat template cannot express a conversation or its loss mask
"""


class BaseModelError(Exception):
    """Root of every error that this package raises for a user to read."""


class UnknownBaseError(BaseModelError):
    """No catalogue entry, local folder or hub repository has this name."""


class FetchError(BaseModelError):
    """A base could not be downloaded, or what came is not what the catalogue pins."""


class InvalidBaseError(BaseModelError):
    """The folder lacks a file that a base needs, or holds one that cannot be read."""


class UnsupportedError(BaseModelError):
    """The asked device, dtype or quantisation is not available on this machine."""


class RenderingError(BaseModelError, ValueError):
    """A conversation cannot be rendered, or its completion cannot be told from its prompt."""
