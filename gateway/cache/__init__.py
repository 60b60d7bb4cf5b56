"""Redis as a cache shared by replicas: the client, sealed entries, leaderboard reads and event ids."""
