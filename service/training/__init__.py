"""One training run in this process: from files to an adapter in the registry."""
