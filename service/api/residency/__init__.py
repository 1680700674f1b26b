"""Where adapters are, and which an operator keeps on the device."""
