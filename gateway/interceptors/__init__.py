"""The links that every call passes on its way in and out. server/assembly/chain.py lists them in order."""
