"""Builds the TypeScript client (clients/typescript): generates its messages, compiles it, and packs it for npm.

The result is below the user's cache, once for each state of the sources, so that each clone finds it. If Node or npm's
registry is missing, that is a reason for skipping, never a failure.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from tools import client_code, stubs
from tools.generate_protos import ROOT
from tools.go_tools import NotBuilt, cache_folder

SOURCES = ROOT / "clients" / "typescript"
OLDEST_NODE = 20
WITHIN_S = 420
_GENERATED = "src/gen"
_OWN = (_GENERATED, "node_modules", "dist", "build", "readme")
_DETAILS = ("google/rpc/status.proto", "google/rpc/error_details.proto")
_CODE_BLOCK = re.compile(r"^```ts\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def built() -> Path:
    """Return the folder of the package: `dist`, and tests and the scenario below `build`. Raises: NotBuilt."""
    _require_node()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "client"
        _write_sources(fresh)
        return _cached("typescript-client", _digest(fresh), lambda target: _compile(fresh, target))


def write_package(target: Path) -> Path:
    """Write the package, as `npm install` takes it, into a folder and return it. Raises: NotBuilt."""
    (name,) = json.loads(_run([_npm(), "pack", "--ignore-scripts", "--json", "--pack-destination", target], built()))
    return target / str(name["filename"])


def _write_sources(target: Path) -> None:
    """Copy the sources and generate what repeats the contract."""
    shutil.copytree(SOURCES, target, ignore=lambda folder, names: _ignored(Path(folder), names))
    package = json.loads((target / "package.json").read_text(encoding="utf-8"))
    version = stubs.project_version()
    (target / "package.json").write_text(json.dumps(package | {"version": version}, indent=2) + "\n", encoding="utf-8")
    generated = target / _GENERATED
    generated.mkdir()
    config = json.loads((ROOT / "clients" / "service_config.json").read_text(encoding="utf-8"))
    texts = {
        "version.ts": f'/** The version of this package. */\nexport const VERSION = "{version}";\n',
        "service-config.ts": f"/** The published service config. */\nexport const PUBLISHED = {json.dumps(config)};\n",
        "reasons.ts": _reasons(),
    }
    for name, text in texts.items():
        (generated / name).write_text(text, encoding="utf-8")
    (target / "readme").mkdir()
    for number, block in enumerate(_CODE_BLOCK.findall((SOURCES / "README.md").read_text(encoding="utf-8"))):
        (target / "readme" / f"block-{number}.ts").write_text(f"{block}\nexport {{}};\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        stubs.write_descriptors(Path(folder) / "all")
        files = FileDescriptorSet.FromString((Path(folder) / "all").read_bytes())
    merged = client_code.merge(files)
    foreign = [one for one in files.file if one.name.startswith("google/")]
    (target / "contract.binpb").write_bytes(FileDescriptorSet(file=[*foreign, merged]).SerializeToString())


def _ignored(folder: Path, names: list[str]) -> list[str]:
    return [name for name in names if str((folder / name).relative_to(SOURCES)) in _OWN]


def _reasons() -> str:
    lines = ["/** What each reason of the gateway means. */", "export const REASONS = {"]
    lines += [
        f"  {json.dumps(one.reason)}: {json.dumps(' '.join((one.__doc__ or '').split()))},"
        for one in client_code.reasoned_errors()
    ]
    return "\n".join([*lines, "} as const;", "", "/** A reason of the gateway. */", _REASON_TYPE, ""])


_REASON_TYPE = "export type Reason = keyof typeof REASONS;"


def _compile(fresh: Path, target: Path) -> None:
    """Generate the messages and compile everything. Raises: NotBuilt if npm does not install; SystemExit."""
    lock = (fresh / "package-lock.json").read_bytes()
    modules = _cached("typescript-modules", hashlib.sha256(lock).hexdigest(), lambda made: _install(fresh, made))
    shutil.copytree(fresh, target, dirs_exist_ok=True)
    (target / "node_modules").symlink_to(modules / "node_modules")
    names = [client_code.PROTO, *_DETAILS]
    plugin = f"--plugin=protoc-gen-es={target / 'node_modules/.bin/protoc-gen-es'}"
    output = [f"--es_out={target / _GENERATED}", "--es_opt=target=ts,import_extension=js"]
    if protoc.main(["protoc", f"--descriptor_set_in={target / 'contract.binpb'}", plugin, *output, *names]) != 0:
        raise SystemExit("protoc failed. Its message is above.")
    for project in ("tsconfig.build.json", "tsconfig.json"):
        command = [str(target / "node_modules/.bin/tsc"), "-p", project]
        done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        if done.returncode != 0:
            raise SystemExit(f"The TypeScript client does not compile:\n{done.stdout}{done.stderr}")


def _install(fresh: Path, target: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(fresh / name, target / name)
    _run([_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], target)


def _require_node() -> None:
    node = shutil.which("node")
    if node is None:
        raise NotBuilt("the TypeScript client needs Node, which is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        raise NotBuilt(f"the TypeScript client needs Node {OLDEST_NODE} or later, and {version} is installed")


def _npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise NotBuilt("the TypeScript client is built with npm, which is not installed")
    return npm


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _cached(name: str, digest: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills once; concurrent test workers wait for it."""
    target = cache_folder() / f"{name}-{digest[:16]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                made = Path(folder) / "made"
                made.mkdir()
                make(made)
                os.replace(made, target)
    return target


def _run(command: list[str | Path], folder: Path) -> str:
    """Run npm and return what it prints. Raises: NotBuilt with its last error."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"npm did not finish within {WITHIN_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise NotBuilt(f"npm could not install what the TypeScript client needs: {last}")
    return done.stdout
