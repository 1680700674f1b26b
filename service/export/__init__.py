"""Adapters as whole models: merged into their base's weights, for software that knows no adapters."""
