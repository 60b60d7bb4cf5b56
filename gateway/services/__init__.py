"""One class per proto service: messages to actions and back."""
