"""Phoenix's platform key: fetched, shared among replicas, revoked."""
