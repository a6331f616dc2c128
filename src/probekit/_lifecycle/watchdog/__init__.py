"""Whether the process stands still, and what holds it: watched from a thread of its own."""
