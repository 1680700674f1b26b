"""How a new row comes about; each recipe is a conversation with a model, told step by step."""
