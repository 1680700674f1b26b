"""Records to adapters: batches, LoRA layers, the loop, checkpoints."""
