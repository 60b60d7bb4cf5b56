"""Our secrets and signing keys, and Phoenix's platform key. Other rooms get descriptions, never key material."""
