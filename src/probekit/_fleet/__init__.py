"""What stands behind `probekit.fleet`: one switch in Redis for all replicas of an application."""
