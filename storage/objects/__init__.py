"""Objects: streams of bytes under keys, on this machine's disk or in a store that several machines share."""
