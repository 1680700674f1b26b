"""Names to answers: the base, its renderers, the registry and the engine put together, with no HTTP."""
