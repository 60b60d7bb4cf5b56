"""The evidence of each money move: claimed once, durable before the answer, never deleted."""
