#!/bin/sh
# Install a pinned uv into .tools/, and the project with its locked packages into .venv/. Called by `make setup`.
set -eu
UV_VERSION=0.13.8
cd "$(dirname "$0")/.."
. tools/packages.sh

# One at a time: a second `make`, in another terminal, waits. The lock is held until this process ends.
if [ -z "${SETUP_PYTHON:-}" ]; then
    python=$(sh tools/find_python.sh)
    exec "$python" -c '
import fcntl, os, sys
lock = open("tools/setup.sh", "r+")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("setup: waits for another one in this folder", flush=True)
    fcntl.flock(lock, fcntl.LOCK_EX)
os.set_inheritable(lock.fileno(), True)
os.execvpe("sh", ["sh", "tools/setup.sh"], {**os.environ, "SETUP_PYTHON": sys.argv[1]})' "$python"
fi
python=$SETUP_PYTHON

new_tools() {
    rm -rf .tools
    "$python" -m venv .tools >/dev/null 2>&1 && .tools/bin/python -m pip --version >/dev/null 2>&1
}

if ! { [ -x .tools/bin/uv ] && [ "$(.tools/bin/uv --version | cut -d' ' -f2)" = "$UV_VERSION" ]; }; then
    echo "setup: installing uv $UV_VERSION into .tools with $python"
    if ! new_tools; then
        minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "setup: $python cannot create a virtual environment; installing the system's venv package"
        install_package "python$minor-venv" py3-pip python3-pip - || install_package python3-venv - - - || true
        if ! new_tools; then
            echo "setup: $python has no venv with pip. Debian, Ubuntu: apt-get install python3-venv, then run this again." >&2
            rm -rf .tools
            exit 1
        fi
    fi
    .tools/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" </dev/null
fi

# Ignore an active virtual environment of another project. Download no Python.
unset VIRTUAL_ENV
UV_PYTHON_DOWNLOADS=never .tools/bin/uv sync --quiet --frozen --all-extras --python "$python" </dev/null
echo "setup: ready ($(.venv/bin/python --version), .venv)"
