"""How a process leaves: drain, signals, what is in flight."""
