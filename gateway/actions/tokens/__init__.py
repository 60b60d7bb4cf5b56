"""Actions of TokenService: mint tokens."""
