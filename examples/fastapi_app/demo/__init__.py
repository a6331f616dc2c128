"""``./scripts/demo``: the life of the order service in twenty seconds, told and checked."""
