"""`python -m gateway.sandbox`: the sandbox with plain argparse, for use without the command line of the gateway."""

import argparse
import os
import sys
from pathlib import Path

from gateway.sandbox.main import run
from gateway.sandbox.options import OptionsInvalid, read_options


def main(arguments: list[str] | None = None) -> int:
    """Read flags and environment, serve until SIGTERM or SIGINT; return the exit code (2 for bad options)."""
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox", description="A local Phoenix.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; off loopback only with TLS")
    parser.add_argument("--port-base", type=int, default=0, help="first of five ports; 0 takes free ones")
    parser.add_argument("--tls-cert", type=Path, help="certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, help="private key of the certificate, PEM")
    parser.add_argument("--ready-file", type=Path, help="written (JSON) when serving")
    parser.add_argument("--config", type=Path, help="TOML with [[tenants]] and [[operators]]")
    flags = parser.parse_args(arguments)
    try:
        options = read_options(
            os.environ,
            host=flags.host,
            port_base=flags.port_base,
            tls_cert=flags.tls_cert,
            tls_key=flags.tls_key,
            ready_file=flags.ready_file,
            config=flags.config,
        )
    except OptionsInvalid as invalid:
        for fault in invalid.faults:
            print(f"sandbox: {fault}", file=sys.stderr)
        return 2
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
