"""`phoenix-gateway doctor`: looks at everything that a start stands on, and says what to do about what is wrong.

It only looks: no migration, no file, no board is made, but for `prove_events`, which is asked for by name. `diagnose`
is the list of checks; the rooms' own files hold one subject each. Nothing here repeats a secret, or text of Phoenix's
but for a cleaned error code. Source: issue 4, point 3.
"""
