"""An order service with probekit: the three probes, drain and metrics in a real application."""
