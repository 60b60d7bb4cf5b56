"""`phoenix-gateway doctor`: checks everything that a start depends on, and says how to fix what is wrong.

It changes nothing: it runs no migration and makes no file or board. Only `prove_events`, which the user asks for by
name, sends events. `diagnose.py` is the list of checks; each other file holds the checks of one subject. No output
repeats a secret. Of Phoenix's own text it shows only the error code, and that only in a known form.
"""
