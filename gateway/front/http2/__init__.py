"""A gRPC server over HTTP/2 on the event loop itself: no thread of its own, no queue that this project cannot see."""
