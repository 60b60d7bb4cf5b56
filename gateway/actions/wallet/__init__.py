"""Actions of WalletService: verify, record, list and export."""
