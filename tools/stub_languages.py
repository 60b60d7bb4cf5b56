"""`make stubs`: builds what other teams call the gateway with, below build/stubs/, for all languages or named ones.

Each language replaces its own files and leaves those of the others. One that cannot be built here is skipped if all are
built, and is a failure if it was named. tools/stubs.py and the tools of the clients say how each is built.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tools import java_client, stubs, typescript_client
from tools.generate_protos import ROOT
from tools.go_module import MODULE, write_module
from tools.go_tools import NotBuilt

_README = """# Calling the Phoenix Gateway

`make stubs` writes all of this, and `make stubs LANGUAGE=go` what one language needs ({languages}).

- `phoenix_gateway_client-{version}-py3-none-any.whl`: Python. `pip install` it, then
  `from phoenix_gateway_client import Gateway`. Its README is clients/python/README.md.
- `go/`: Go. The folder is a module proxy: `GOPROXY=file://$PWD/go,https://proxy.golang.org GONOSUMDB=phoenix.internal
  go get {module}@v{version}`. Its README is clients/go/README.md.
- `phoenix-gateway-client-{version}.tgz`, where npm was there to build it: TypeScript for Node.
  `npm install ./phoenix-gateway-client-{version}.tgz`. Its README is clients/typescript/README.md.
- `java/`, where Maven was there to build it: Java. The jar, its sources and its POM, for `mvn install:install-file` or
  `deploy:deploy-file`. Its README is clients/java/README.md.
- `protos/`: the contract, for any other language. `imports/` holds what it imports from others: compile with it, but
  generate no code from it.
- `plain/`: the same without validation rules, for teams without protovalidate. The messages are equal on the wire.
- `descriptors.binpb`: all as one descriptor set, with comments. Where reflection is not allowed, use
  `grpcurl -protoset descriptors.binpb ...`.

Without the clients, with buf, here or in `plain/`:

- `buf generate --template buf.gen.java.yaml` and `buf generate --template buf.gen.typescript.yaml` write Java and
  TypeScript to `gen`. Each file says which plugins it needs.

The same for Go:

- `buf generate` writes `gen/gateway/v1`, for any place in your module.
- `buf generate --template buf.gen.managed.yaml` does it in managed mode. Write your module's path into it first. Keep
  its `disable`: the code of `google/rpc` and `buf/validate` comes from their own modules, and a program that holds a
  second copy panics at its start.

Python, in `plain/`, with grpcio-tools: `python -m grpc_tools.protoc -I protos -I imports --python_out=gen --pyi_out=gen
--grpc_python_out=gen protos/gateway/v1/*.proto`. Other languages: `protoc -I protos -I imports ...`.

For errors, Go has `google.golang.org/genproto/googleapis/rpc`, Java `com.google.api.grpc:proto-google-common-protos`,
C# `Google.Api.CommonProtos`.
"""


def _python(folder: Path) -> list[Path]:
    return [stubs.write_wheel(folder)]


def _go(folder: Path) -> list[Path]:
    write_module(folder / "go", stubs.project_version())
    return [folder / "go"]


def _typescript(folder: Path) -> list[Path]:
    return [typescript_client.write_package(folder)]


def _java(folder: Path) -> list[Path]:
    java_client.built()  # without it, no empty folder is left behind
    (folder / "java").mkdir()
    return java_client.write_package(folder / "java")


def _protos(folder: Path) -> list[Path]:
    stubs.write_protos(folder, plain=False)
    stubs.write_protos(folder / "plain", plain=True)
    stubs.write_descriptors(folder / "descriptors.binpb")
    return _found(folder, "protos")


LANGUAGES: dict[str, tuple[Callable[[Path], list[Path]], tuple[str, ...]]] = {
    "python": (_python, ("phoenix_gateway_client-*.whl",)),
    "go": (_go, ("go",)),
    "typescript": (_typescript, ("phoenix-gateway-client-*.tgz",)),
    "java": (_java, ("java",)),
    "protos": (_protos, ("protos", "imports", "plain", "buf.*yaml", "descriptors.binpb")),
}
"""What builds a language in a folder, and the names of its files there."""


def main(arguments: list[str]) -> int:
    """Build the languages that the arguments name, with spaces or commas between them; without any, build all."""
    named = [one.lower() for one in " ".join(arguments).replace(",", " ").split()]
    unknown = [one for one in named if one not in LANGUAGES]
    if unknown:
        known = ", ".join(LANGUAGES)
        print(f"make stubs: LANGUAGE={','.join(unknown)} is unknown; choose from {known}.", file=sys.stderr)
        return 2
    return build(stubs.STUBS, named)


def build(folder: Path, named: list[str]) -> int:
    """Build the named languages, or all, and print what was written. Return 1 if a named one cannot be built."""
    if not named:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    names = {"module": MODULE, "version": stubs.project_version(), "languages": ", ".join(LANGUAGES)}
    (folder / "README.md").write_text(_README.format(**names), encoding="utf-8")
    code = 0
    for language in named or LANGUAGES:
        write, _ = LANGUAGES[language]
        for path in _found(folder, language):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            for path in write(folder):
                print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
        except NotBuilt as failed:
            if named:
                print(f"make stubs: {language} was not built: {failed}.", file=sys.stderr)
                code = 1
            else:
                print(f"SKIPPED {language}: {failed}.")
    return code


def _found(folder: Path, language: str) -> list[Path]:
    return sorted(path for pattern in LANGUAGES[language][1] for path in folder.glob(pattern))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
