"""HTTP: thin routes over the engine, the registry and evaluation."""
