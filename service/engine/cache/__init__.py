"""The key-value cache: which pages belong to whom, and the tensors behind them."""
