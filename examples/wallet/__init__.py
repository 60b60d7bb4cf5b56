"""An example of an operator's wallet that uses Phoenix Gateway. It is small enough to read and safe enough to copy."""
