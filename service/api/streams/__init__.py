"""Server-sent events: answers as they are written, and what happens to jobs and runs as it happens."""
