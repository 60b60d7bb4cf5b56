"""Phoenix's HTTP APIs: sending, reading answers, one file per chapter of the vendor's documentation."""
