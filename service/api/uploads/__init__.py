"""What clients send that is no JSON object: archives, files, suites and their cases."""
