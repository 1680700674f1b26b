"""Records to tokens to the tensors of a forward pass, and the order in which rows come."""
