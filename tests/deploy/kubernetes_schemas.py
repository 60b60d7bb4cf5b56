"""What Kubernetes itself publishes about its objects: the OpenAPI documents of its API, in several versions.

They come with the Go module of kubectl-validate, which is downloaded and not compiled. Unknown members are refused, as
`kubectl apply --validate=strict` does. custom_resources.json holds what two operators publish about theirs: all names,
and the schemas of those members that the chart uses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator

from tools.go_tools import downloaded

MODULE = "sigs.k8s.io/kubectl-validate@v0.0.4"


def documents(version: str) -> Path:
    """Return the folder of one version of Kubernetes, such as 1.30. Raises: NotBuilt."""
    return downloaded(MODULE) / "pkg" / "openapiclient" / "builtins" / version


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


def custom_faults(manifest: dict[str, Any]) -> list[str]:
    """Return what the custom resource's definition would refuse in an object."""
    known = json.loads((Path(__file__).parent / "custom_resources.json").read_text(encoding="utf-8"))
    (schema,) = [
        each["schema"]
        for each in known
        if (each["apiVersion"], each["kind"]) == (manifest["apiVersion"], manifest["kind"])
    ]
    errors = Draft4Validator(schema).iter_errors(manifest)
    return [f"{manifest['kind']} {error.json_path}: {error.message}" for error in errors]
