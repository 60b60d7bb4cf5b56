"""How the gateway authenticates at Phoenix, and what happens when Phoenix answers 401."""
