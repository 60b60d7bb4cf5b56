"""Verifies an evidence export offline. It shares no code with the gateway, which wrote the export."""
