"""Admin and query on real sockets: credentials, boards, ranks, windows, snapshots, raw paths, shapes."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from tests.sandbox.client import Client


def fill(client: Client, scores: dict[str, float], board: str = "xp") -> None:
    """Make a board with these scores."""
    client.sandbox.control("POST", f"/boards/{client.tenant}/{board}", {"scores": scores})


async def test_page_is_ranked_by_score_then_user(client: Client) -> None:
    """Best first, equal scores by id, no shared rank; offset and limit cut the page."""
    fill(client, {"cleo": 7, "bob": 7, "ada": 9.5, "dan": 1})
    reported = (await client.board("?offset=1&limit=2")).json()
    assert 4 == reported["total"]
    assert [(2, "bob", 7), (3, "cleo", 7)] == [(e["rank"], e["user_id"], e["score"]) for e in reported["entries"]]


async def test_rank_score_and_neighbours_agree(client: Client) -> None:
    """The three reads of one user agree."""
    fill(client, {f"u{index}": 100 - index for index in range(50)})
    rank = (await client.board("/rank/u10")).json()
    score = (await client.board("/score/u10")).json()
    around = (await client.board("/user/u10?limit=5")).json()
    assert (11, 90, 90) == (rank["rank"], rank["score"], score["score"])
    assert "rank" not in score
    assert ["u8", "u9", "u10", "u11", "u12"] == [each["user_id"] for each in around["entries"]]


@pytest.mark.parametrize("user", ["a/b", "..", "../xp", "a b", "é", "50%", "a%2Fb", "x?y#z"])
async def test_encoded_ids_are_one_segment_decoded_once(client: Client, user: str) -> None:
    """A separator inside an id stays in the id."""
    await client.post("/v1/events", client.event(user=user))
    encoded = "".join(f"%{byte:02X}" for byte in user.encode())
    reported = await client.board(f"/rank/{encoded}")
    assert (200, user, 1) == (reported.status, reported.json()["user_id"], reported.json()["rank"])


@pytest.mark.parametrize("rest", ["/rank/..", "/rank/../../xp", "/rank/%ff", "//rank/ada"])
async def test_paths_that_others_would_collapse_are_refused(client: Client, rest: str) -> None:
    """Dot segments, empty segments and escapes that are no UTF-8, as sent."""
    raw = f"GET /v1/leaderboards/{client.tenant}/xp{rest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert b" 400 " in await raw_exchange(client, "query", raw.encode())


@pytest.mark.parametrize(("form", "status"), [("404", 404), ("null", 200), ("zero", 200)])
async def test_user_without_entry(client: Client, form: str, status: int) -> None:
    """404 by default; null or 0 by setting."""
    client.sandbox.control("POST", "/settings", {"unranked": form})
    answer = await client.board("/rank/nobody")
    assert status == answer.status
    if status == 404:
        assert "USER_NOT_FOUND" == answer.json()["code"]
    else:
        assert {"null": None, "zero": 0}[form] == answer.json()["rank"]


async def test_unknown_and_inactive_boards_have_their_codes(client: Client) -> None:
    """404 for a board that is not there, 422 for one that does not score."""
    unknown = await client.board(board="nowhere")
    client.sandbox.control("POST", f"/boards/{client.tenant}/xp/status", {"status": "inactive"})
    inactive = await client.board()
    assert (404, "LEADERBOARD_NOT_FOUND") == (unknown.status, unknown.json()["code"])
    assert (422, "BOARD_NOT_ACTIVE") == (inactive.status, inactive.json()["code"])


async def test_rolled_window_becomes_a_snapshot(client: Client) -> None:
    """An empty live window falls back to the completed one; `current` does not; the snapshot keeps the ranks."""
    fill(client, {"ada": 3, "bob": 4})
    rolled = client.sandbox.control("POST", "/windows/roll", {"leaderboard_id": "xp"})["rolled"][0]
    fallback, current = (await client.board()).json(), (await client.board("?window_key=current")).json()
    assert (rolled["closed"], 2) == (fallback["window_key"], fallback["total"])
    assert (rolled["window_key"], 0) == (current["window_key"], current["total"])
    listed = (await client.board(kind="snapshots")).json()
    taken = listed["snapshots"][0]["snapshot_time"]
    assert rolled["snapshot_time"] == taken
    encoded = taken.replace(":", "%3A")
    page = (await client.board(f"/{encoded}?limit=1", kind="snapshots")).json()
    user = (await client.board(f"/{encoded}/user/ada", kind="snapshots")).json()
    assert (["bob"], 2) == ([each["user_id"] for each in page["entries"]], user["rank"])
    await client.post("/v1/events", client.event(user="cleo"))
    assert ["cleo"] == [each["user_id"] for each in (await client.board()).json()["entries"]]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=-1", "offset=-1", "limit=1e3"])
async def test_bad_parameters_are_400(client: Client, query: str) -> None:
    """A number in its range or nothing."""
    assert 400 == (await client.board(f"?{query}")).status


async def test_unknown_window_and_snapshot_are_404(client: Client) -> None:
    """Neither is answered with another window's data."""
    window, snapshot = await client.board("?window_key=1999-01-01T00"), await client.board("/x", kind="snapshots")
    assert ["WINDOW_NOT_FOUND", "SNAPSHOT_NOT_FOUND"] == [window.json()["code"], snapshot.json()["code"]]


async def test_shapes_hold_the_same_in_other_words(client: Client) -> None:
    """Every read form has the same data."""
    fill(client, {"ada": 3})
    found: dict[str, Any] = {}
    for shape in ("default", "camel", "wrapped", "data"):
        client.sandbox.control("POST", "/settings", {"read_shape": shape, "extra_members": True})
        found[shape] = (await client.board()).json()
    assert "ada" == found["default"]["entries"][0]["user_id"]
    assert "ada" == found["camel"]["entries"][0]["userId"]
    assert "ada" == found["wrapped"]["leaderboard"]["entries"][0]["user_id"]
    assert "ada" == found["data"]["data"][0]["user_id"]
    assert "Player ada" == found["default"]["entries"][0]["name"]


@pytest.mark.parametrize("surface", ["admin", "query"])
@pytest.mark.parametrize("by", ["api_key", "bearer", "admin_jwt", "hmac"])
async def test_every_credential_opens_admin_and_query(client: Client, surface: str, by: str) -> None:
    """API key in both headers, admin JWT and tenant HMAC, over the raw path."""
    path = f"/tenants/{client.tenant}/leaderboards" if surface == "admin" else f"/v1/leaderboards/{client.tenant}/xp"
    headers = {
        "api_key": {"X-API-Key": client.environ["ADMIN_API_KEY"]},
        "bearer": {"Authorization": f"Bearer {client.environ['ADMIN_API_KEY']}"},
        "admin_jwt": {"Authorization": f"Bearer {admin_token(client)}"},
        "hmac": client.signed("GET", path),
    }[by]
    assert 200 == (await client.call(surface, "GET", path + "?limit=5", headers=headers)).status


async def test_tenant_token_reads_but_does_not_administer(client: Client) -> None:
    """200 on query, 403 on admin."""
    headers = {"Authorization": f"Bearer {tenant_token(client)}"}
    read = await client.call("query", "GET", f"/v1/leaderboards/{client.tenant}/xp", headers=headers)
    listed = await client.call("admin", "GET", "/leaderboards", headers=headers)
    assert [200, 403] == [read.status, listed.status]


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": "pk_wrong"}, {"Authorization": "Bearer pk_wrong"}, {"Authorization": "Bearer a.b.c"}],
    ids=["none", "key", "bearer", "token"],
)
@pytest.mark.parametrize("surface", ["admin", "query"])
async def test_wrong_credentials_are_401(client: Client, surface: str, headers: dict[str, str]) -> None:
    """On both hosts, and the answer is marked."""
    path = "/health" if surface == "admin" else f"/v1/leaderboards/{client.tenant}/xp"
    answer = await client.call(surface, "GET", path, headers=headers)
    assert (401, "true") == (answer.status, answer.headers["X-Phoenix-Sandbox"])


@pytest.mark.parametrize("change", [{"exp": 1}, {"exp": None}, {"sub_type": "admin"}, {"sub_id": "x"}, {"sub": ""}])
async def test_token_with_other_claims_is_401(client: Client, change: dict[str, Any]) -> None:
    """Expired, endless, foreign or nameless tokens open nothing."""
    headers = {"Authorization": f"Bearer {tenant_token(client, **change)}"}
    answer = await client.call("query", "GET", f"/v1/leaderboards/{client.tenant}/xp", headers=headers)
    assert 401 == answer.status


@pytest.mark.parametrize(("kind", "secret"), [("tenant", "INGESTION_HMAC_SECRET"), ("admin", "ADMIN_API_KEY")])
async def test_token_signed_with_another_key_is_401(client: Client, kind: str, secret: str) -> None:
    """Right claims, wrong key; control names the reason."""
    subject = client.tenant if kind == "tenant" else client.environ["ADMIN_API_KEY_ID"]
    claims = {"sub": "u1", "sub_type": kind, "sub_id": subject, "exp": int(time.time()) + 60}
    forged = token(claims, client.environ[secret] + "x")
    path = f"/v1/leaderboards/{client.tenant}/xp"
    answer = await client.call("query", "GET", path, headers={"Authorization": f"Bearer {forged}"})
    reported = client.sandbox.control("POST", "/tokens/verify", {"token": forged, "kind": kind})
    assert (401, "bad_signature") == (answer.status, reported["reason"])


async def test_foreign_tenant_is_403(client: Client) -> None:
    """A key gives access only to its tenant."""
    assert 403 == (await client.read("/v1/leaderboards/another/xp")).status


async def test_board_is_created_once(client: Client) -> None:
    """201 with the definition, then 409; it is listed and scores."""
    body = {"leaderboard_id": "new-1", "tenant_id": client.tenant, "name": "New", "config": {"scoring": {}}}
    first, second = [await create(client, body) for _ in range(2)]
    assert (201, 409) == (first.status, second.status)
    assert ("active", 1) == (first.json()["status"], first.json()["version"])
    key = {"X-API-Key": client.environ["ADMIN_API_KEY"]}
    listed = (await client.call("admin", "GET", "/leaderboards", headers=key)).json()
    assert ["new-1", "xp"] == sorted(each["leaderboard_id"] for each in listed["leaderboards"])
    assert 200 == (await client.board(board="new-1")).status


@pytest.mark.parametrize(
    "change",
    [{"leaderboard_id": "a b"}, {"tenant_id": "x"}, {"name": None}, {"config": []}, {"config": {"scoring": 1}}],
    ids=json.dumps,
)
async def test_bad_board_is_400(client: Client, change: dict[str, Any]) -> None:
    """Ids, tenant, name and config are checked."""
    body = {"leaderboard_id": "new-1", "tenant_id": client.tenant, "name": "New", "config": {}, **change}
    assert 400 == (await create(client, body)).status


async def test_other_chapters_are_echoed(client: Client) -> None:
    """A path of the reference that is not emulated comes back, with credentials only."""
    path = f"/v1/tenants/{client.tenant}/coupons"
    key = {"X-API-Key": client.environ["ADMIN_API_KEY"]}
    answer = await client.call("admin", "POST", path + "?a=1", b'{"name":"x"}', key)
    assert {"method": "POST", "path": path, "query": "a=1", "body": {"name": "x"}} == answer.json()
    assert 401 == (await client.call("admin", "POST", path, b"{}")).status


async def create(client: Client, body: dict[str, Any]) -> Any:
    """POST a board to the admin host."""
    headers = {"X-API-Key": client.environ["ADMIN_API_KEY"], "content-type": "application/json"}
    path = f"/tenants/{client.tenant}/leaderboards"
    return await client.call("admin", "POST", path, json.dumps(body).encode(), headers)


async def raw_exchange(client: Client, surface: str, request: bytes) -> bytes:
    """Send bytes as they are and return all that comes back."""
    import asyncio

    host, _, port = client.sandbox.urls[surface].removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def tenant_token(client: Client, **change: Any) -> str:
    """Return a tenant JWT; None leaves a claim out."""
    claims = {"sub": "u1", "sub_type": "tenant", "sub_id": client.tenant, "exp": int(time.time()) + 60, **change}
    return token(claims, client.environ["INGESTION_HMAC_SECRET"])


def admin_token(client: Client) -> str:
    """Return an admin JWT."""
    key_id = client.environ["ADMIN_API_KEY_ID"]
    claims = {"sub": "root", "sub_type": "admin", "sub_id": key_id, "exp": int(time.time()) + 60}
    return token(claims, client.environ["ADMIN_API_KEY"])


def token(claims: dict[str, Any], key: str) -> str:
    """Return an HS256 JWT."""
    kept = {name: value for name, value in claims.items() if value is not None}
    pieces = [encoded(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, kept)]
    signature = hmac.new(key.encode(), ".".join(pieces).encode(), hashlib.sha256).digest()
    return ".".join([*pieces, encoded(signature)])


def encoded(data: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
