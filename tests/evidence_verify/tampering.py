"""Changes exports as an attacker would, with and without rebuilding the chain."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from gateway.core.ed25519 import SigningKey
from gateway.core.encoding import b64url_encode
from gateway.evidence_verify.blocks import Extent, read_block
from gateway.evidence_verify.export_format import to_microseconds
from gateway.evidence_verify.records import _claim_digest, _outcome_digest

Lines = list[bytes]


def read_lines(text: bytes) -> Lines:
    """Return the lines of an export, each with its end."""
    return text.splitlines(keepends=True)


def written(document: Any) -> bytes:
    """Return a line as an export writes it."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def record_places(lines: Lines) -> list[int]:
    """Return where the records are."""
    return [place for place, line in enumerate(lines) if line.startswith(b'{"operation_id"')]


def block_places(lines: Lines) -> list[int]:
    """Return where the blocks are."""
    return [place for place, line in enumerate(lines) if line.startswith(b'{"chain_block"')]


def change_value(lines: Lines, rng: random.Random) -> str:
    """Change one value somewhere in a record, to another of its kind."""
    place = rng.choice(record_places(lines))
    record = json.loads(lines[place])
    path = rng.choice(_leaves(record, ()))
    holder = record
    for step in path[:-1]:
        holder = holder[step]
    before = holder[path[-1]]
    holder[path[-1]] = _other(before, rng)
    lines[place] = written(record)
    return f"record {place}: {path} {before!r} -> {holder[path[-1]]!r}"


def flip_bit(lines: Lines, rng: random.Random) -> str:
    """Flip one bit of a record's line."""
    place = rng.choice(record_places(lines))
    line = bytearray(lines[place])
    at = rng.randrange(len(line) - 1)
    line[at] ^= 1 << rng.randrange(7)
    lines[place] = bytes(line)
    return f"record {place}: bit at {at}"


def drop_member(lines: Lines, rng: random.Random) -> str:
    """Take a member out of a record, or one of its messages."""
    place = rng.choice(record_places(lines))
    record = json.loads(lines[place])
    name = rng.choice(list(record))
    del record[name]
    lines[place] = written(record)
    return f"record {place}: without {name}"


def delete_record(lines: Lines, rng: random.Random) -> str:
    """Take a record out."""
    place = rng.choice(record_places(lines))
    del lines[place]
    return f"without record {place}"


def swap_records(lines: Lines, rng: random.Random) -> str:
    """Let two records change places."""
    one, two = rng.sample(record_places(lines), 2)
    lines[one], lines[two] = lines[two], lines[one]
    return f"records {one} and {two} swapped"


def swap_members(lines: Lines, rng: random.Random) -> str:
    """Let two records exchange a member in which they differ."""
    while True:
        one, two = rng.sample(record_places(lines), 2)
        first, second = json.loads(lines[one]), json.loads(lines[two])
        name = rng.choice([name for name in first if name in second])
        if first[name] != second[name]:
            first[name], second[name] = second[name], first[name]
            lines[one], lines[two] = written(first), written(second)
            return f"records {one} and {two}: {name} exchanged"


def repeat_record(lines: Lines, rng: random.Random) -> str:
    """Let a record come twice."""
    place = rng.choice(record_places(lines))
    lines.insert(place, lines[place])
    return f"record {place} twice"


def truncate(lines: Lines, rng: random.Random) -> str:
    """Cut the file off anywhere after its first line."""
    text = b"".join(lines)
    at = rng.randrange(len(lines[0]) + 1, len(text))
    lines[:] = read_lines(text[:at])
    return f"cut off at {at} of {len(text)}"


def change_block(lines: Lines, rng: random.Random) -> str:
    """Change one value of a block."""
    place = rng.choice(block_places(lines))
    document = json.loads(lines[place])
    block = document["chain_block"]
    name = rng.choice(list(block))
    block[name] = _other(block[name], rng)
    lines[place] = written(document)
    return f"block {place}: {name}"


def delete_block(lines: Lines, rng: random.Random) -> str:
    """Take a block out."""
    place = rng.choice(block_places(lines))
    del lines[place]
    return f"without block {place}"


def swap_blocks(lines: Lines, rng: random.Random) -> str:
    """Let two blocks change places."""
    one, two = rng.sample(block_places(lines), 2)
    lines[one], lines[two] = lines[two], lines[one]
    return f"blocks {one} and {two} swapped"


def change_key(lines: Lines, rng: random.Random) -> str:
    """Put another public key in the place of one."""
    place = rng.choice([place for place, line in enumerate(lines) if line.startswith(b'{"chain_key"')])
    document = json.loads(lines[place])
    document["chain_key"]["public_key"] = base64.b64encode(rng.randbytes(32)).decode()
    lines[place] = written(document)
    return f"key {place}"


def rebuild_chain(lines: Lines, rng: random.Random, key: SigningKey | None = None) -> str:
    """Change a record or remove it, and rebuild the chain.

    Without `key`, the signatures stay the same. With one, it signs everything.
    """
    place = rng.choice(record_places(lines))
    record = json.loads(lines[place])
    operation_id = record["operation_id"]
    if rng.random() < 0.5:
        del lines[place]
        record = None
    else:
        record["operation"]["player_id"] = "another-player"
        lines[place] = written(record)
    extent_members = json.loads(lines[0])["chain_extent"]
    extent = Extent(
        operator_code=extent_members["operator_code"], environment="prod", start_us=None, end_us=None, as_of=0
    )
    previous, sequence = "0" * 64, 1
    for at in block_places(lines):
        document = json.loads(lines[at])
        block = document["chain_block"]
        entries = []
        for line in block["entries"].split("\n"):
            entry = json.loads(line)
            if entry[1] == operation_id:
                if record is None:
                    continue
                if entry[0] == "claim":
                    received = to_microseconds(record["receive_time"])
                    entry[5] = _claim_digest(record, record["operation"], "prod", received).hex()
                elif entry[0] == "outcome":
                    entry[3] = _outcome_digest(record, record["response"]).hex()
            entries.append(json.dumps(entry, separators=(",", ":"), ensure_ascii=False))
        text = "\n".join(entries)
        block["entries"], block["entries_sha256"] = text, sha256(text.encode()).hexdigest()
        block["entry_count"], block["first_sequence"], block["previous_hash"] = len(entries), str(sequence), previous
        if key is not None:
            block["key_id"] = key.key_id
        header = read_block(block).header(extent)
        block["hash"] = previous = sha256(header).hexdigest()
        if key is not None:
            block["signature"] = b64url_encode(key.sign(header))
        sequence += len(entries)
        lines[at] = written(document)
    if key is not None:
        public = base64.b64encode(key.public.raw).decode()
        lines.insert(1, written({"chain_key": {"key_id": key.key_id, "public_key": public}}))
    return f"record {place}: {'removed' if record is None else 'changed'}, chain rebuilt"


def cut_end(lines: Lines, rng: random.Random) -> str:
    """Remove the last blocks with their records and later changes, and change the stated scope to match.

    The rest is consistent: only a head shows the change. Records that changed later are removed completely.
    """
    places = block_places(lines)
    kept = rng.randrange(1, len(places))
    gone = {
        json.loads(line)[1]
        for at in places[kept:]
        for line in json.loads(lines[at])["chain_block"]["entries"].split("\n")
    }
    begun = {
        json.loads(line)[1]
        for at in places[:kept]
        for line in json.loads(lines[at])["chain_block"]["entries"].split("\n")
    }
    if gone & begun:
        raise ValueError("blocks share records")
    extent = json.loads(lines[0])
    extent["chain_extent"]["as_of"] = json.loads(lines[places[kept - 1]])["chain_block"]["number"]
    cut = set(places[kept:])
    lines[:] = [
        written(extent) if place == 0 else line
        for place, line in enumerate(lines)
        if place not in cut and not (line.startswith(b'{"operation_id"') and json.loads(line)["operation_id"] in gone)
    ]
    return f"cut off after block {kept} of {len(places)}"


Alteration = Callable[[Lines, random.Random], str]
ALTERATIONS: tuple[Alteration, ...] = (
    *(change_value, change_value, change_value, flip_bit, flip_bit, drop_member, delete_record, swap_records),
    *(swap_members, repeat_record, truncate, change_block, delete_block, swap_blocks, change_key, rebuild_chain),
)


def _leaves(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for name, one in value.items() for leaf in _leaves(one, (*path, name))]
    if isinstance(value, list):
        return [leaf for place, one in enumerate(value) for leaf in _leaves(one, (*path, place))]
    return [path]


def _other(value: Any, rng: random.Random) -> Any:
    """Return another value of the same kind that is spelt as well."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 7))
    text = copy.copy(value)
    while text == value:
        digits = [place for place, one in enumerate(value) if one.isdigit()]
        if digits and rng.random() < 0.7:
            at = rng.choice(digits)
            text = value[:at] + rng.choice("0123456789") + value[at + 1 :]
        else:
            at = rng.randrange(len(value))
            text = value[:at] + rng.choice("abcXYZ") + value[at + 1 :]
    return text
