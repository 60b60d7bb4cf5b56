"""The pure core: bytes in, bytes or dataclasses out. No I/O, no clock, no environment, no logging."""
