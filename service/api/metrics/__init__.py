"""What Prometheus scrapes, and how much of it each tenant may see."""
