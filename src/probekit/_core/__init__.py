"""What a check is and how it runs: anyio and the standard library."""
