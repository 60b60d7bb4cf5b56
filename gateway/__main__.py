"""`python -m gateway` is `phoenix-gateway`."""

from gateway.cli.entry import main

if __name__ == "__main__":
    main()
