"""Linear layers in which every token goes through the adapters of its own request."""
