"""Builds the documentation as a site: `make docs` writes build/site from the Markdown pages of the repository."""
