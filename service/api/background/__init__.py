"""What the server does that no event loop waits for: work of minutes, taken up from requests or from the database."""
