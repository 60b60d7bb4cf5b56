"""Stores of secrets outside this machine: Vault and OpenBao, AWS, Google Cloud. Each is an optional extra."""
