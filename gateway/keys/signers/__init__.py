"""Launch keys that stay in a store: Vault or OpenBao transit, AWS KMS, GCP KMS, an HSM behind PKCS#11."""
