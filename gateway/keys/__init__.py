"""Secrets, signing keys and Phoenix's platform key: held here, described to others, never shown."""
