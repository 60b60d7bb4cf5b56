"""Phoenix Gamification: the ingestion, query and admin hosts."""
