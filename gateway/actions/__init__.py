"""What the gateway does: one module per thing, called by the services, calling the rooms below."""
