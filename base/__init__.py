"""What a base model is: catalogue, fetch, digest, loading, quantisation, prompt rendering and loss mask."""
