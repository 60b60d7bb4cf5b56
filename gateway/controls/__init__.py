"""What may stop a call: limits and kill switches, shared by replicas."""
