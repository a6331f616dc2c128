"""``python -m examples.worker``."""

from .worker import main

main()
