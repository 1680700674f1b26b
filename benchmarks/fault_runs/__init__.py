"""What `faults.py` is made of: a place with jobs, processes that die, and the faults."""
