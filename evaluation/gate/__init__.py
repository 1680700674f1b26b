"""Policies by which an alias moves to a better version, and the decision from what was measured."""
