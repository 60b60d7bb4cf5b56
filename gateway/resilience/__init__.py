"""Time, deadlines and the rules of trying again; nothing here knows Phoenix or gRPC."""
