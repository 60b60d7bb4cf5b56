"""Phoenix Gateway."""
