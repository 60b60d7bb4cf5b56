#!/bin/sh
# Run the tests with a real Redis, PostgreSQL and PgBouncer. The system's package manager installs them if they are missing.
# The tests start the servers on free ports. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
. tools/packages.sh

# On Debian and Fedora, PostgreSQL's server programs are not on the PATH.
find_postgres() {
    command -v initdb >/dev/null 2>&1 && command -v postgres >/dev/null 2>&1 && return 0
    for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* /opt/homebrew/opt/postgresql*/bin; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
            PATH="$PATH:$folder"
            export PATH
            return 0
        fi
    done
    return 1
}

if ! command -v redis-server >/dev/null 2>&1; then
    echo "test: installing redis-server"
    install_package redis-server redis redis redis || echo "test: redis-server could not be installed; tests that need it are skipped or fail." >&2
fi
if ! find_postgres; then
    echo "test: installing PostgreSQL"
    install_package postgresql postgresql postgresql-server postgresql@16 || true
    find_postgres || echo "test: PostgreSQL could not be installed; its tests are skipped." >&2
fi

if ! command -v pgbouncer >/dev/null 2>&1 && [ ! -x /usr/sbin/pgbouncer ]; then
    echo "test: installing pgbouncer"
    install_package pgbouncer pgbouncer pgbouncer pgbouncer || echo "test: pgbouncer could not be installed; its tests are skipped." >&2
fi

if ! command -v softhsm2-util >/dev/null 2>&1; then
    echo "test: installing SoftHSM"
    install_package softhsm2 softhsm softhsm softhsm || echo "test: SoftHSM could not be installed; its tests are skipped." >&2
fi

if ! command -v pkcs11-tool >/dev/null 2>&1; then
    echo "test: installing OpenSC"
    install_package opensc opensc opensc opensc || echo "test: OpenSC could not be installed; the test of the HSM's guide is skipped." >&2
fi

# A worker that has nothing left takes tests from the end of the other's list, so that both end at about the same time.
case " $* " in
*" -m "*) ;;
*)
    # The short tests use Vault, Helm, grpcurl and grpc-health-probe only where they are installed or were built before.
    export SKIP_SLOW_BUILDS=1
    set -- -m "not faults and not fuzz" "$@"
    ;;
esac
exec .venv/bin/python -m pytest -n 2 --dist worksteal "$@" </dev/null
