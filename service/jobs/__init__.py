"""Finetuning jobs: what was asked, the queue they wait in, and the workers that run them."""
