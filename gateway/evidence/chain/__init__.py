"""The tamper-evident journal of the evidence: entries, blocks, heads."""
