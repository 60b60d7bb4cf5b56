"""What Kubernetes itself publishes about its objects: the OpenAPI documents of its API, in several versions.

They come with the Go module of kubectl-validate, which is downloaded and not compiled. Unknown members are refused, as
`kubectl apply --validate=strict` does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator

MODULE = "sigs.k8s.io/kubectl-validate@v0.0.4"
DOWNLOAD_WITHIN_S = 120


class SchemasMissing(Exception):
    """The documents cannot be had; the text says why."""


def documents(version: str) -> Path:
    """Return the folder of one version of Kubernetes, such as 1.30. Raises: SchemasMissing."""
    go = shutil.which("go")
    if go is None:
        raise SchemasMissing("the schemas of Kubernetes are downloaded with Go, which is not installed")
    try:
        done = subprocess.run(
            [go, "mod", "download", "-json", MODULE],
            cwd="/",
            env={**os.environ, "GOFLAGS": "-mod=mod"},
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SchemasMissing(f"Go did not download the schemas within {DOWNLOAD_WITHIN_S} s") from None
    if done.returncode != 0:
        raise SchemasMissing(f"Go could not download the schemas: {done.stderr.strip() or done.stdout.strip()}")
    return Path(json.loads(done.stdout)["Dir"]) / "pkg" / "openapiclient" / "builtins" / version


def faults(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Return what this version of Kubernetes would refuse in an object: the place and the reason."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    place = Path("apis") / group / version if group else Path("api") / version
    document = json.loads((folder / place.with_suffix(".json")).read_text(encoding="utf-8"))
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    wanted = {"group": group, "version": version, "kind": manifest["kind"]}
    (name,) = [name for name, each in schemas.items() if wanted in each.get("x-kubernetes-group-version-kind", [])]
    validator = Draft4Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})
    return [f"{manifest['kind']} {error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
