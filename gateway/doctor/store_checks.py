"""Secrets in stores: may the gateway do more than read them? The configuration has already read each."""

from __future__ import annotations

import asyncio

from gateway.config import Config
from gateway.core.secret import SecretRefused
from gateway.doctor.checks import Check
from gateway.doctor.report import Result, ok, warning
from gateway.keys.sources.secret_store import StoredSecret
from gateway.resilience.deadline import Deadline


def store_checks(config: Config) -> list[Check]:
    """Return a check for each reference."""
    return [_check(config, one) for one in config.secret_stores.all()]


def _check(config: Config, one: StoredSecret) -> Check:
    async def probe(deadline: Deadline) -> Result:
        try:
            rights = await asyncio.to_thread(config.secret_stores.needless_rights, one)
        except SecretRefused as refusal:
            return warning(
                f"readable; its store does not say what else the gateway may do: {refusal}",
                "allow the question, or check the policy by hand",
            )
        if rights:
            return warning(
                f"readable, but the gateway's login may also: {', '.join(rights)}",
                "take these rights away: whoever takes over the gateway would have them",
            )
        version = one.versions[-1].name
        return ok("readable, and the gateway's login may do no more" + (f"; version {version}" if version else ""))

    return Check(name="secret-store", subject=str(one.reference), probe=probe)
