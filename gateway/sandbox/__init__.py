"""A local Phoenix for development, demonstrations and tests.

The sandbox emulates Phoenix's ingestion, admin, query and prediction hosts. It checks every signature with its own
code. Tests make it fail through a control listener. It imports nothing from the rest of `gateway`: an emulator that
shares code with the gateway would repeat the gateway's errors and not find them.

The behaviour follows the vendor's documentation. Where the documentation is silent, the module's docstring says
"Assumption".
"""
