"""What the engine computes on a CPU in functions of its own, compiled by numba: products, norms, attention, adapters.

Torch's operations cost several microseconds each on a few rows, more than their work; a decoding step has over a
thousand of them.
"""
