"""Public benchmarks, asked and scored by lm-evaluation-harness; its models are those behind the `Sampler` seam.

The library is the extra `benchmarks`, so nothing outside this package imports it unasked.
"""
