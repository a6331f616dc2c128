"""A probe request in, a response out: no framework."""
