package gateway

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Phoenix takes 400 as final; an answer of a handler stays as it is.
func TestWhatTheServerCannotParseIs503(t *testing.T) {
	listener := listen(t)
	server := &http.Server{Handler: http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header()["Date"] = []string{"today"}
		http.Error(writer, "no", http.StatusBadRequest)
	})}
	go func() { _ = server.Serve(WalletListener(listener)) }()
	t.Cleanup(func() { _ = server.Close() })
	large := "X-Large: " + strings.Repeat("x", 2<<20)
	for headers, want := range map[string]string{
		"Host: wallet\r\nX-Odd: \x00":                    "503",
		"Host: wallet\r\nX Odd: 1":                       "503",
		"Host: wallet\r\nno colon":                       "503",
		"Host: wallet\r\nTransfer-Encoding: odd":         "503",
		"X-Odd: no host":                                 "503",
		"Host: wallet\r\n" + large:                       "503",
		"Host: wallet\r\nContent-Length: 1, 2":           "503",
		"Host: wallet\r\nContent-Length: 0\r\nX-Fine: 1": "400",
	} {
		if status, body := exchange(t, listener.Addr(), headers); status != want {
			t.Errorf("%.60q: %s %s", headers, status, body)
		}
	}
}

// exchange sends a request with these headers and returns the status and the rest of the answer.
func exchange(t *testing.T, address net.Addr, headers string) (status, rest string) {
	t.Helper()
	connection, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
	request := "POST /wallet/transactions HTTP/1.1\r\n" + headers + "\r\nConnection: close\r\n\r\n"
	go func() { _, _ = io.WriteString(connection, request) }()
	answer, _ := io.ReadAll(connection)
	_, text, _ := strings.Cut(string(answer), " ")
	status, rest, _ = strings.Cut(text, " ")
	return status, rest
}
