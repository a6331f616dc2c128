"""What all the workers of one server share: a directory of small files."""
