"""Where a secret comes from: files, and what a store outside this machine must be able to do."""
