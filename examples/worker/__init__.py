"""A queue consumer with probekit: heartbeat, progress, levels and jobs that no death loses."""
