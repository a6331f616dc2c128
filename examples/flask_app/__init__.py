"""A booking service on Flask and gunicorn with probekit: probes and drain over several workers."""
