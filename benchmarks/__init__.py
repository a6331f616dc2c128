"""What probekit costs, against what one would write by hand: `./scripts/bench`."""
