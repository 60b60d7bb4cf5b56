"""`python -m gateway.sandbox` starts the sandbox without the gateway's command line."""

import argparse
import os
import sys
from pathlib import Path

from gateway.sandbox.main import run
from gateway.sandbox.options import OptionsInvalid, read_options


def main(arguments: list[str] | None = None) -> int:
    """Read flags and environment and serve until SIGTERM or SIGINT. Return the exit code: 2 for invalid options."""
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox", description="A local Phoenix.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; any address but loopback needs TLS")
    parser.add_argument("--port-base", type=int, default=0, help="first of five consecutive ports; 0 uses free ports")
    parser.add_argument("--tls-cert", type=Path, help="file with the certificate chain, PEM")
    parser.add_argument("--tls-key", type=Path, help="file with the certificate's private key, PEM")
    parser.add_argument("--ready-file", type=Path, help="file that the sandbox writes (JSON) when it is ready")
    parser.add_argument("--config", type=Path, help="TOML file with [[tenants]] and [[operators]]")
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
