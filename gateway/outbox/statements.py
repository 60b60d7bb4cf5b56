"""SQL that is the same on SQLite and PostgreSQL but for how it reads and makes JSON.

Many rows go in as one JSON text and come out as one. Fetching or binding row by row lets go of Python's lock each time,
and a writer thread beside a busy event loop then waits milliseconds for every row: a thousand rows took a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa


class Statement:
    """One statement, made once per database.

    In its text `{given}` stands for the rows that go in, as columns named by `given` ("lane bigint, user_id text");
    `{told}` for all rows that come out, the columns `told` of them, as one JSON text; `{lock}` and `{skip}` for row
    locks where there are any.
    """

    def __init__(self, text: str, given: str = "", told: str = "") -> None:
        self._text = text
        self._given = [tuple(column.split()) for column in given.split(",")] if given else []
        self._told = told
        self._made: dict[str, sa.TextClause] = {}

    def on(self, connection: sa.Connection) -> sa.TextClause:
        """Return it for the database at hand."""
        dialect = connection.dialect.name
        made = self._made.get(dialect)
        if made is None:
            made = self._made[dialect] = sa.text(self._written(dialect == "sqlite"))
        return made

    def run(self, connection: sa.Connection, rows: Sequence[Sequence[Any]] | None = None, **values: Any) -> int:
        """Execute it; return how many rows it changed."""
        return int(connection.execute(self.on(connection), _bound(rows, values)).rowcount)

    def told(
        self, connection: sa.Connection, rows: Sequence[Sequence[Any]] | None = None, **values: Any
    ) -> list[list[Any]]:
        """Execute it; return the rows of `{told}`, in any order."""
        text = connection.execute(self.on(connection), _bound(rows, values)).scalar_one()
        return orjson.loads(text) if text else []

    def _written(self, is_sqlite: bool) -> str:
        if is_sqlite:
            columns = [f"json_extract(value, '$[{at}]') AS {name}" for at, (name, _) in enumerate(self._given)]
            given = f"(SELECT {', '.join(columns)} FROM json_each(:rows)) AS given"  # noqa: S608 - column names
            told = f"json_group_array(json_array({self._told}))"
        else:
            columns = [f"CAST(value ->> {at} AS {kind}) AS {name}" for at, (name, kind) in enumerate(self._given)]
            elements = "json_array_elements(CAST(:rows AS json)) WITH ORDINALITY AS one(value, place)"
            given = f"(SELECT {', '.join(columns)} FROM {elements} ORDER BY place) AS given"  # noqa: S608 - as above
            told = f"CAST(json_agg(json_build_array({self._told})) AS text)"
        return (
            self._text.replace("{given}", given)
            .replace("{told}", told)
            .replace("{lock}", "" if is_sqlite else "FOR UPDATE")
            .replace("{skip}", "" if is_sqlite else "FOR UPDATE SKIP LOCKED")
        )


def _bound(rows: Sequence[Sequence[Any]] | None, values: dict[str, Any]) -> dict[str, Any]:
    return values if rows is None else {"rows": orjson.dumps(rows).decode(), **values}
