"""From a request for text to running answers, whatever route it came by."""
