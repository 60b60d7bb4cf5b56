"""Generated from protos/gateway/v1 by `make protos`; never edited by hand."""
