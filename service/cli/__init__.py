"""The `lorad` command: one module a sub-command."""
