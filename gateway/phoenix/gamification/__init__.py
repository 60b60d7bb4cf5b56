"""Phoenix Gamification: ingestion, query and admin gateways."""
