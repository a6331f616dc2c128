"""Observers that need another package; each module needs the extra of its name."""
