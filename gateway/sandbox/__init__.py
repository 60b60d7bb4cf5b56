"""A local Phoenix for development, demonstrations and tests.

Answers as Phoenix's ingestion, admin, query and prediction hosts do, checks every signature with code of its
own, and can be told over a control listener to fail. Shares nothing with the rest of `gateway`: an emulator that
shared code with what it checks would check nothing. Facts come from the vendor's documentation; what that leaves
open is marked "Assumption" in the docstring of the module that had to choose.
"""
