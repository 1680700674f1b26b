"""What can go wrong before a model is asked.

CorpusError
└── SeedsError   the seeds do not hold what the recipe works with
"""

from corpus.errors import CorpusError


class SeedsError(CorpusError):
    """The seeds do not hold what the recipe works with."""
