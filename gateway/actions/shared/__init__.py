"""What actions share: the call, contexts of tenants and operators, page tokens."""
