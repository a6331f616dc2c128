"""The parts of `probekit.Probes`, one for each of its uses."""
