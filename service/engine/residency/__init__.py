"""Which adapters are on the device, in host memory or on disk; how they come, and are checked before they answer."""
