#!/bin/sh
# Print the path of a Python that the project supports (3.11 to 3.13). If there is none, say what to do.
# PYTHON=/path/to/python selects one.
set -eu
for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    path=$("$name" -c 'import sys
if (3, 11) <= sys.version_info < (3, 14) and sys.implementation.name == "cpython":
    print(getattr(sys, "_base_executable", None) or sys.executable)' 2>/dev/null </dev/null) || continue
    if [ -n "$path" ]; then
        echo "$path"
        exit 0
    fi
done
echo "No Python 3.11, 3.12 or 3.13 found${PYTHON:+ at PYTHON=$PYTHON}." >&2
echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv; Fedora: dnf install python3.13;" >&2
echo "macOS: brew install python@3.13), or name one: make setup PYTHON=/path/to/python3.13" >&2
exit 1
