"""The gateway's own secrets: files, versions, the key ring and trials."""
