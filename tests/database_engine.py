"""The database engine of a real Vault or OpenBao before a PostgreSQL that checks passwords, as the guide sets it up.

The users that it makes have passwords of three letters only, so that a test can look for them.
"""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.postgres_process import PostgresProcess
from tests.vault_process import VaultProcess

PASSWORD = re.compile(r"[QZJ]{24}")
"""What a password of a user looks like."""
OWNER = "owner"
_CREATE = (
    """CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'""",
    f"""GRANT {OWNER} TO "{{{{name}}}}" """,
    f"""ALTER ROLE "{{{{name}}}}" SET ROLE {OWNER}""",
)
_RULES = 'length = 24\nrule "charset" { charset = "QZJ" }'
_LOGINS = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@contextmanager
def postgres_with_passwords() -> Iterator[PostgresProcess]:
    """A running PostgreSQL that lets only its administrator in without a password. Raises: PostgresMissing."""
    with tempfile.TemporaryDirectory(prefix="pgw-hba-") as folder:
        rules = Path(folder, "pg_hba.conf")
        rules.write_text(_LOGINS)
        Path(folder).chmod(0o755)  # PostgreSQL is another user
        server = PostgresProcess(f"hba_file={rules}")
        server.start()
        try:
            yield server
        finally:
            server.stop()


class DatabaseEngine:
    """The engine at `database` with the role `phoenix`, for one database whose owner is the role `owner`."""

    def __init__(self, vault: VaultProcess, postgres: PostgresProcess, *, ttl: str, max_ttl: str) -> None:
        """Args: `ttl`, `max_ttl`: of a lease, such as 10s."""
        self.vault = vault
        self.admin_url = postgres.create_database(f"users_{uuid.uuid4().hex}")
        self.where = self.admin_url.rpartition("@")[2]
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            if not admin.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{OWNER}'").fetchone():
                admin.execute(f"CREATE ROLE {OWNER}")
            admin.execute(f"ALTER SCHEMA public OWNER TO {OWNER}")
        vault("POST", "sys/policies/password/short", {"policy": _RULES})
        vault("POST", "sys/mounts/database", {"type": "database"})
        vault(
            "POST",
            "database/config/phoenix",
            {
                "plugin_name": "postgresql-database-plugin",
                "allowed_roles": "phoenix",
                "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{self.where}?sslmode=disable",
                "username": "postgres",
                "password": "any",
                "password_policy": "short",
            },
        )
        role = {"db_name": "phoenix", "creation_statements": _CREATE, "default_ttl": ttl, "max_ttl": max_ttl}
        vault("POST", "database/roles/phoenix", role)
        vault.policy("database", {"database/creds/phoenix": ["read"]})

    def login(self, *, ttl: str, max_ttl: str, **options: bool) -> dict[str, str]:
        """Make an AppRole whose tokens live so long. Return the settings that use it and the engine."""
        self.vault("POST", "sys/auth/approle", {"type": "approle"})
        role = {"token_policies": "database", "token_ttl": ttl, "token_max_ttl": max_ttl, **options}
        self.vault("POST", "auth/approle/role/gateway", role)
        return {
            "VAULT_ADDR": self.vault.address,
            "VAULT_AUTH": "approle",
            "VAULT_ROLE_ID": self.vault("GET", "auth/approle/role/gateway/role-id")["data"]["role_id"],
            "VAULT_SECRET_ID": self.vault("POST", "auth/approle/role/gateway/secret-id", {})["data"]["secret_id"],
            "DATABASE_URL_REF": f"vault-db:database/creds/phoenix#postgresql://{self.where}",
        }

    def revoke(self) -> None:
        """End every lease of the role now: the users are dropped."""
        self.vault("POST", "sys/leases/revoke-prefix/database/creds/phoenix")

    def connected(self) -> set[str]:
        """Return the users of the gateway's connections."""
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            rows = admin.execute(
                "SELECT usename FROM pg_stat_activity"
                " WHERE application_name = 'phoenix-gateway' AND datname = current_database() AND usename IS NOT NULL"
            )
            return {str(row[0]) for row in rows}

    def ends_of(self, user: str) -> str:
        """Return until when the password of a user works; "" if there is no such user."""
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            row = admin.execute("SELECT rolvaliduntil::text FROM pg_roles WHERE rolname = %s", (user,)).fetchone()
            return "" if row is None else str(row[0])
