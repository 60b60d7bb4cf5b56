"""SQL that is the same on SQLite and PostgreSQL, except for how it reads and writes JSON.

Many rows go in as one JSON text and come out as one. Row-by-row access releases Python's lock for each row, and a
writer thread next to a busy event loop then waits milliseconds each time: a thousand rows took a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from gateway.store.pipeline import STEADY_FUNCTION, TIME_FUNCTION, TIME_SETTING, defer

_TIME = f"CAST(current_setting('{TIME_SETTING}') AS bigint)"


class Statement:
    """One statement, built once per database.

    In its text, `{given}` is the table of input rows with the columns `given` ("lane bigint, user_id text");
    `{returned}` is one JSON text of all output rows with the columns `returned`; `{lock}` and `{skip}` are row locks,
    if the database has them; `{now}` is the time of the transaction, `{steady}` its time for leases.
    """

    def __init__(self, text: str, given: str = "", returned: str = "") -> None:
        self._text = text
        self._given = [tuple(column.split()) for column in given.split(",")] if given else []
        self._returned = returned
        self._built: dict[str, sa.TextClause] = {}

    def on(self, connection: sa.Connection) -> sa.TextClause:
        """Return the statement for this database."""
        dialect = connection.dialect.name
        built = self._built.get(dialect)
        if built is None:
            built = self._built[dialect] = sa.text(self._written(dialect == "sqlite"))
        return built

    def run(self, connection: sa.Connection, rows: Sequence[Sequence[Any]] | None = None, **values: Any) -> int:
        """Execute the statement. Return the number of changed rows."""
        return int(connection.execute(self.on(connection), _bound(rows, values)).rowcount)

    def later(self, connection: sa.Connection, rows: Sequence[Sequence[Any]] | None = None, **values: Any) -> None:
        """Execute the statement, together with the next one where the database allows it."""
        defer(connection, self.on(connection), _bound(rows, values))

    def fetch(
        self, connection: sa.Connection, rows: Sequence[Sequence[Any]] | None = None, **values: Any
    ) -> list[list[Any]]:
        """Execute the statement. Return the rows of `{returned}`, in any order."""
        text = connection.execute(self.on(connection), _bound(rows, values)).scalar_one()
        return orjson.loads(text) if text else []

    def _written(self, is_sqlite: bool) -> str:
        if is_sqlite:
            columns = [f"json_extract(value, '$[{at}]') AS {name}" for at, (name, _) in enumerate(self._given)]
            given = f"(SELECT {', '.join(columns)} FROM json_each(:rows)) AS given"  # noqa: S608 - column names
            returned = f"json_group_array(json_array({self._returned}))"
        else:
            columns = [f"CAST(value ->> {at} AS {kind}) AS {name}" for at, (name, kind) in enumerate(self._given)]
            elements = "json_array_elements(CAST(:rows AS json)) WITH ORDINALITY AS one(value, place)"
            given = f"(SELECT {', '.join(columns)} FROM {elements} ORDER BY place) AS given"  # noqa: S608 - as above
            returned = f"CAST(json_agg(json_build_array({self._returned})) AS text)"
        return (
            self._text.replace("{given}", given)
            .replace("{returned}", returned)
            .replace("{now}", f"{TIME_FUNCTION}()" if is_sqlite else _TIME)
            .replace("{steady}", f"{STEADY_FUNCTION}()" if is_sqlite else _TIME)
            .replace("{lock}", "" if is_sqlite else "FOR UPDATE")
            .replace("{skip}", "" if is_sqlite else "FOR UPDATE SKIP LOCKED")
        )


def _bound(rows: Sequence[Sequence[Any]] | None, values: dict[str, Any]) -> dict[str, Any]:
    return values if rows is None else {"rows": orjson.dumps(rows).decode(), **values}
