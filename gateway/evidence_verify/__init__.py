"""Proves an export of evidence, offline: shares no code with the gateway that wrote it, and imports nothing of it."""
