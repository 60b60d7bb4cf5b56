"""No secret shows in the configuration or in an error about it."""

import base64
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import ConfigInvalid, load, names
from tests.config.valid_settings import NO_ENV_FILE, WHOLE, ed25519_pem, loaded, refused

CANARY = "canary-4f1d9a7e"
CACHE_KEY = base64.b64encode(CANARY.ljust(32, "x").encode()).decode()
KEY_PEM = ed25519_pem()
WITH_CANARIES = {
    **WHOLE,
    "ADMIN_API_KEY": CANARY,
    "INGESTION_HMAC_SECRET": CANARY,
    "PREDICTION_LAUNCH_KEY": KEY_PEM,
    "REDIS_URL": f"redis://user:{CANARY}@cache.example",
    "GATEWAY_CACHE_KEYS": CACHE_KEY,
    "DATABASE_URL": f"postgresql://user:{CANARY}@db.example/x",
}
MARKS = (CANARY, CACHE_KEY, KEY_PEM.splitlines()[1])


def renderings(value: object) -> Iterator[str]:
    """How a value appears when it is printed or logged."""
    yield str(value)
    yield repr(value)
    yield f"{value!s:>10}"
    if isinstance(value, BaseException):
        yield "".join(traceback.format_exception(value))
        yield repr(value.args) + repr(vars(value))


def assert_hidden(value: object) -> None:
    """No mark of a secret is in any rendering."""
    for text in renderings(value):
        assert [mark for mark in MARKS if mark in text] == []


def test_no_secret_shows_in_the_configuration() -> None:
    """Whoever logs the whole object gives nothing away."""
    assert_hidden(loaded(WITH_CANARIES))


def test_a_configuration_with_secrets_is_not_pickled() -> None:
    """Pickles end up in caches and crash reports."""
    with pytest.raises(TypeError):
        pickle.dumps(loaded(WITH_CANARIES))


@pytest.mark.parametrize("name", sorted(names.ENVIRONMENT_NAMES))
@pytest.mark.parametrize("wrong", ["", f" {CANARY} ", f"{CANARY}\x00\n{CANARY}", f"https://{CANARY}@{CANARY}?{CANARY}"])
def test_no_value_shows_in_an_error(name: str, wrong: str) -> None:
    """No error repeats the value of any setting."""
    try:
        assert_hidden(load({**WITH_CANARIES, name: wrong, "GATEWAY_WORKERS": "wrong"}, env_file=NO_ENV_FILE))
    except ConfigInvalid as error:
        assert_hidden(error)


@pytest.mark.parametrize(
    "text",
    [
        f'admin_api_key = "{CANARY}',
        f'admin_api_key = "a"\nadmin_api_key = "{CANARY}"',
        f"admin_api_key = {CANARY}",
        f"admin_api_key = {{{CANARY} = 1, {CANARY} = 2}}",
        f'[[tenants]]\ntenant_id = "{CANARY}\\u0000"\nadmin_api_key = "{CANARY} {CANARY}"',
        f'[[operators]]\nlaunch_key = "{CANARY}"\nenvironment = "{CANARY}"',
        f'[[operators]]\nplatform_key = "{CANARY}"\nkey_cooldown = "{CANARY}"',
        f'gateway_listen = ["{CANARY}", 1]',
    ],
)
def test_no_value_of_the_toml_file_shows_in_an_error(text: str, tmp_path: Path) -> None:
    """Not even a parser's own words are repeated."""
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    path.chmod(0o600)
    assert_hidden(refused({**WHOLE, "GATEWAY_CONFIG": str(path)}))


def test_no_line_of_the_env_file_shows_in_an_error(tmp_path: Path) -> None:
    """A broken line may be half a secret."""
    env_file = tmp_path / ".env"
    env_file.write_text(f"ADMIN_API_KEY='{CANARY}\n{CANARY} {CANARY}\n")
    assert_hidden(refused(WITH_CANARIES, env_file=env_file))
