"""The registry that the settings name, and the one way into it."""
