"""Generates the parts of docs/ that repeat what the code says: `make docs` writes them, `make lint` compares."""
