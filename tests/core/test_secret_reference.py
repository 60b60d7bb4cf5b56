"""References to secrets: their parts, and what is refused with the fix."""

import pytest

from gateway.core.secret_reference import (
    SECRET_SCHEMES,
    SIGNER_SCHEMES,
    ReferenceRefused,
    Scheme,
    SecretReference,
    parse_reference,
)

GOOD = [
    ("vault:secret/phoenix#admin_api_key", Scheme.VAULT, "secret/phoenix", "admin_api_key"),
    (" vault:kv/team/phoenix#a.b ", Scheme.VAULT, "kv/team/phoenix", "a.b"),
    ("aws-sm:phoenix/admin#api_key", Scheme.AWS_SECRET, "phoenix/admin", "api_key"),
    ("aws-sm:phoenix/admin", Scheme.AWS_SECRET, "phoenix/admin", ""),
    ("aws-sm:arn:aws:secretsmanager:eu:1:secret:a-x", Scheme.AWS_SECRET, "arn:aws:secretsmanager:eu:1:secret:a-x", ""),
    ("gcp-sm:projects/x/secrets/y", Scheme.GCP_SECRET, "projects/x/secrets/y", ""),
    ("gcp-sm:projects/x/locations/eu/secrets/y#key", Scheme.GCP_SECRET, "projects/x/locations/eu/secrets/y", "key"),
    ("file:/run/a#b", Scheme.FILE, "/run/a#b", ""),
    ("exec:/bin/print a#b", Scheme.EXEC, "/bin/print a#b", ""),
]


@pytest.mark.parametrize(("text", "scheme", "path", "field"), GOOD)
def test_a_reference_has_its_parts(text: str, scheme: Scheme, path: str, field: str) -> None:
    """And is written again as it was read."""
    found = parse_reference(text)
    assert found == SecretReference(scheme=scheme, path=path, field=field)
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("s3cret", "no reference", "vault:secret/phoenix#admin_api_key"),
        ("azure:x", "no reference", "gcp-sm:"),
        ("vault-transit:transit/x", "no reference", "vault:"),
        ("vault:secret/phoenix", "names no field", "#admin_api_key"),
        ("vault:secret/phoenix#", "names no field", "#admin_api_key"),
        ("vault:secret#x", "path of a mount", "secret/phoenix"),
        ("vault:secret/../sys/seal#x", "path of a mount", "secret/phoenix"),
        ("vault:secret/a?b#x", "path of a mount", "secret/phoenix"),
        ("vault:secret/data/phoenix#x", "contains data/", "write secret/phoenix"),
        ("aws-sm:a#", "names no field", "aws-sm:"),
        ("aws-sm:", "names no path", "aws-sm:"),
        ("gcp-sm:x", "resource name", "projects/"),
        ("gcp-sm:projects/x/secrets/y/versions/3", "resource name", "projects/"),
        ("file: ", "no path", "file:/run"),
        ("exec:a\nb", "control character", "exec:/usr"),
        ("aws-sm:" + "x" * 1025, "longer than", "aws-sm:"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_fix(text: str, problem: str, remedy: str) -> None:
    """The message repeats nothing of the text: it may be a secret in the wrong setting."""
    with pytest.raises(ReferenceRefused) as refused:
        parse_reference(text)
    assert problem in refused.value.problem
    assert remedy in refused.value.remedy
    assert text[:6] != "s3cret" or "s3cret" not in str(refused.value)


def test_a_setting_takes_only_its_own_schemes() -> None:
    """A signer's reference is no secret, and a database login only a database URL."""
    assert parse_reference("vault-transit:transit/launch", SIGNER_SCHEMES).path == "transit/launch"
    with_database = (*SECRET_SCHEMES, Scheme.VAULT_DATABASE)
    found = parse_reference("vault-db:database/creds/app#postgresql://db/app", with_database)
    assert (found.path, found.field) == ("database/creds/app", "postgresql://db/app")
    with pytest.raises(ReferenceRefused, match="database URL"):
        parse_reference("vault-db:database/creds/app", with_database)
