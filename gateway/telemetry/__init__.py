"""What operators see: metrics and logs. Knows nothing of calls or messages; others hand it names and numbers."""
