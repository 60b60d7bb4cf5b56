#!/bin/sh
# Run the core of the tests on every other supported Python that this machine has, and say which those are. The main
# suite runs on the Python of .venv (tools/test.sh). Each other one gets an environment of its own, .venv-VERSION.
set -u
cd "$(dirname "$0")/.."
# What depends on the version: TLS, asyncio, parsing and types of the standard library; and one whole gateway.
CORE="tests/config/test_files.py tests/config/test_pasted_values.py tests/config/test_secrecy.py tests/core/test_wire.py
tests/core/test_wire_answers.py
tests/core/test_wallet_body.py tests/core/test_wallet_refusals.py tests/core/test_wallet_keys.py tests/core/test_wallet_routes.py
tests/core/test_same_move.py tests/core/test_canonical.py tests/core/test_json_text.py tests/core/test_secret_text.py
tests/core/test_public_key_document.py tests/core/test_launch_token.py tests/keys/own tests/keys/sources tests/keys/test_hidden.py
tests/resilience tests/telemetry/test_log_lines.py tests/telemetry/test_logs.py tests/server/listener/test_tls.py
tests/server/listener/test_admin_clients.py tests/server/listener/test_certificate_verdicts.py tests/doctor/test_tls.py
tests/phoenix/test_unsent_requests.py tests/phoenix/test_lost_answers.py tests/phoenix/test_unreadable_answers.py
tests/integration/test_mounted_secrets.py"
own=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
echo "pythons: $own runs the whole suite"

# Newer ones of pyenv are on no PATH unless someone chose them.
find_python() {
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python "/usr/bin/python$1"; do
        path=$(command -v "$candidate" 2>/dev/null) || continue
        [ "$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ] || continue
        echo "$path"
        return 0
    done
    return 1
}

unset VIRTUAL_ENV
failed=0
for version in 3.11 3.12 3.13; do
    [ "$version" != "$own" ] || continue
    if ! python=$(find_python "$version"); then
        echo "pythons: $version is not on this machine; nothing was tested with it"
        continue
    fi
    environment=.venv-$version
    if ! UV_PROJECT_ENVIRONMENT=$environment UV_PYTHON_DOWNLOADS=never .tools/bin/uv sync --quiet --frozen --all-extras \
        --python "$python" </dev/null; then
        echo "pythons: $version at $python has no environment (uv sync failed); nothing was tested with it" >&2
        failed=1
        continue
    fi
    echo "pythons: $version runs the core of the suite ($("$environment"/bin/python --version))"
    # shellcheck disable=SC2086
    "$environment"/bin/python -m pytest -q -n 2 --dist worksteal -m "not faults and not fuzz" -p no:cacheprovider \
        $CORE </dev/null || failed=1
done
exit "$failed"
