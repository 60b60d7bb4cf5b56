"""What is kept of each money move: claimed once, durable before the answer, never purged."""
