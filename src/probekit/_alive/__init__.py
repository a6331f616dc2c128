"""Whether the workers of a server move, judged by a process that stands beside them."""
