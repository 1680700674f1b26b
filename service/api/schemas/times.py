"""Times as OpenAI tells them."""

from datetime import datetime


def unix(moment: datetime) -> int:
    """Whole seconds of Unix time."""
    return int(moment.timestamp())
