"""Several training runs that answer one question: how much data, which base, which settings."""
