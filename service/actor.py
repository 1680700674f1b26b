"""Who acts where there is no API key: the user of the command line."""

import getpass
import os


def local_actor() -> str:
    """`cli:` and the user's name, or number where the machine knows no name for it, as in many containers."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"
