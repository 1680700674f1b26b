"""What an adapter is: configuration, manifest, safe weights, versions and aliases, archives."""
