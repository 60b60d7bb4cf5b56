"""The operating system's processes and threads."""
