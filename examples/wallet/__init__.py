"""An example operator wallet before Phoenix Gateway: small enough to read, safe enough to copy."""
