"""What may not happen, counted."""

from dataclasses import dataclass


@dataclass
class Counts:
    """What was seen of one kind of fault; all but `faults` must stay 0."""

    faults: int = 0
    lost: int = 0
    """Jobs, events or checkpoints that had been acknowledged and were gone later."""
    partial: int = 0
    """Versions whose files are not what their digest says."""
    doubled: int = 0
    """Times at which two trainers ran for one job, or jobs with two versions."""
    unlike: int = 0
    """Adapters that differ from the uninterrupted run's."""
    unfinished: int = 0
    """Jobs that ended otherwise than they must."""
    misread: int = 0
    """Times at which the published adapter could not be read or was another."""

    @property
    def wrong(self) -> tuple[int, ...]:
        """All that must stay 0, in the order of the table's columns."""
        return (self.lost, self.partial, self.doubled, self.unlike, self.unfinished, self.misread)
