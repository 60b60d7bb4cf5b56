package gateway

import (
	"bytes"
	"net"
	"strconv"
)

// ownRefusal is how each answer begins that net/http gives before any handler is called.
var ownRefusal = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// WalletListener returns a listener for the http.Server of a wallet. What this server cannot parse, such as a header that
// a proxy damaged, it answers with 400, which Phoenix takes as final. Here it becomes 503.
//
// With TLS, wrap the outer listener: WalletListener(tls.NewListener(listener, config)).
func WalletListener(listener net.Listener) net.Listener { return walletListener{listener} }

type walletListener struct{ net.Listener }

func (l walletListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return walletConnection{connection}, nil
}

type walletConnection struct{ net.Conn }

// Write sends what the server writes, and 503 in place of an answer of its own. Answers of handlers have a Date first.
func (c walletConnection) Write(answer []byte) (int, error) {
	end := bytes.Index(answer, []byte("\r\n"))
	if end < 0 || !bytes.HasPrefix(answer, []byte("HTTP/1.1 ")) || !bytes.HasPrefix(answer[end:], ownRefusal) {
		return c.Conn.Write(answer)
	}
	text := "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nRetry-After: " +
		retryAfterSeconds + "\r\nContent-Length: " + strconv.Itoa(len(unavailableBody)) + "\r\n\r\n" + unavailableBody
	if _, err := c.Conn.Write([]byte(text)); err != nil {
		return 0, err
	}
	return len(answer), nil
}

// CloseWrite ends this side, so that the other one can read the answer before the connection is closed.
func (c walletConnection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
