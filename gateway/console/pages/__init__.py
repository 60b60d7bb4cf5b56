"""One file per subject: each page is a function from a visit to a template and its values."""
