"""Where calls come in: the gRPC server and the admin port."""
