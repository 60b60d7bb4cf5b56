"""Actions of LeaderboardService: read, cache and watch boards."""
