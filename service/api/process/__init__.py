"""The server as a process: its start, what is under way in it, its logs and its end."""
