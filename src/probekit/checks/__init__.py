"""Ready-made checks, one module for each dependency; each needs the extra of its name."""
