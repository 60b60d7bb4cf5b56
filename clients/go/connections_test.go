package gateway

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"
)

// secured is a gateway that asks for certificates. tests/clients/test_go_client.py starts it, and writes the files.
type secured struct{ address, folder string }

func securedGateway(t *testing.T) secured {
	t.Helper()
	found := secured{os.Getenv("PHOENIX_GATEWAY_SECURED"), os.Getenv("PHOENIX_GATEWAY_SECURED_FILES")}
	if found.address == "" {
		t.Skip("PHOENIX_GATEWAY_SECURED is not set: run tests/clients/test_go_client.py with -m faults")
	}
	return found
}

func (s secured) file(name string) string { return filepath.Join(s.folder, name) }

// files are those of a caller; name "": without a certificate.
func (s secured) files(name, ca string) TLS {
	files := TLS{CAFile: s.file(ca)}
	if name != "" {
		files.CertFile, files.KeyFile = s.file(name+".pem"), s.file(name+".key")
	}
	return files
}

func listKeys(t *testing.T, client *Client) error {
	_, err := client.Keys.ListKeys(within(t, 20*time.Second), &gatewayv1.ListKeysRequest{})
	return err
}

// Each cause is a reason of its own, and the text names the cause and what to do.
func TestConnections(t *testing.T) {
	s := securedGateway(t)
	_, port, _ := net.SplitHostPort(s.address)
	named := s.files("good", "ca.pem")
	named.ServerName = "gateway.test"
	plain := os.Getenv("PHOENIX_GATEWAY_PLAIN")
	for name, one := range map[string]struct {
		target string
		files  *TLS
		reason error
		text   string
	}{
		"right files":       {s.address, ptr(s.files("good", "ca.pem")), nil, ""},
		"no certificate":    {s.address, ptr(s.files("", "ca.pem")), ErrClientCertificateRequired, `only callers with a certificate.*CertFile`},
		"foreign":           {s.address, ptr(s.files("foreign", "ca.pem")), ErrClientCertificateRefused, `foreign\.pem.*not expired`},
		"expired":           {s.address, ptr(s.files("expired", "ca.pem")), ErrClientCertificateRefused, `expired\.pem.*not expired`},
		"old CA":            {s.address, ptr(s.files("good", "old-ca.pem")), ErrGatewayNotTrusted, `old-ca\.pem did not sign.*Get the current CA`},
		"wrong host name":   {"localhost:" + port, ptr(s.files("good", "ca.pem")), ErrWrongHostName, `not for the name localhost.*ServerName`},
		"given server name": {"localhost:" + port, &named, nil, ""},
		"no TLS":            {s.address, nil, ErrTLSExpected, `WithTLS`},
		"TLS to no TLS":     {plain, ptr(s.files("good", "ca.pem")), ErrTLSUnexpected, `does not speak TLS`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is the wait between the attempts of grpc
			var options []Option
			if one.files != nil {
				options = append(options, WithTLS(*one.files))
			}
			err := listKeys(t, dial(t, one.target, options...))
			checkCause(t, err, one.reason, one.text)
		})
	}
}

func ptr(files TLS) *TLS { return &files }

func checkCause(t *testing.T, err, reason error, text string) {
	t.Helper()
	if reason == nil {
		if err != nil {
			t.Error(err)
		}
		return
	}
	failed, _ := asError(err)
	if !errors.Is(err, reason) || !IsNotConnected(err) || failed.Effect != EffectNone {
		t.Fatalf("%+v", failed)
	}
	if !regexp.MustCompile(text).MatchString(err.Error()) {
		t.Errorf("%q does not match %s", err, text)
	}
}

// What needs no gateway: no call was made.
func TestNobodyThere(t *testing.T) {
	mail := listen(t)
	go func() {
		for {
			peer, err := mail.Accept()
			if err != nil {
				return
			}
			_, _ = peer.Write([]byte("220 mail.example ESMTP\r\n"))
			_ = peer.Close()
		}
	}()
	checkCause(t, listKeys(t, dial(t, freeAddress(t))), ErrGatewayUnreachable, `accepts no connection.*whether the gateway runs`)
	checkCause(t, listKeys(t, dial(t, "no-such-host.invalid:50051")), ErrGatewayUnreachable, `no-such-host\.invalid is unknown`)
	checkCause(t, listKeys(t, dial(t, mail.Addr().String())), ErrGatewayUnreachable, `is not a gateway`)
	checkCause(t, listKeys(t, dial(t, "unix:"+filepath.Join(t.TempDir(), "no.sock"))), ErrGatewayUnreachable, `accepts no connection`)
}

// A missing file, a key of another certificate, no PEM: each is named before any connection.
func TestFilesThatCannotBeUsed(t *testing.T) {
	s := securedGateway(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	write(t, empty, nil)
	mixed := s.files("good", "ca.pem")
	mixed.KeyFile = s.file("foreign.key")
	for text, files := range map[string]TLS{
		`gone\.pem cannot be read \(no such file`:     s.files("good", "gone.pem"),
		`good\.pem and .*foreign\.key cannot be used`: mixed,
		`empty\.pem has no certificate`:               {CAFile: empty},
		`give both`:                                   {CAFile: s.file("ca.pem"), CertFile: s.file("good.pem")},
		`CAFile is not given`:                         {},
	} {
		_, err := Dial(s.address, WithTLS(files))
		checkCause(t, err, ErrTLSFilesUnusable, text)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// copyFiles puts the files of a caller in a folder where they can be replaced.
func copyFiles(t *testing.T, s secured, name string, files TLS) {
	t.Helper()
	for target, source := range map[string]string{
		files.CAFile: "ca.pem", files.CertFile: name + ".pem", files.KeyFile: name + ".key",
	} {
		content, err := os.ReadFile(s.file(source))
		if err != nil {
			t.Fatal(err)
		}
		write(t, target, content)
	}
}

// The same client that was refused works once its files are replaced.
func TestRenewedFilesAreUsedWithoutARestart(t *testing.T) {
	s := securedGateway(t)
	files := secured{folder: t.TempDir()}.files("own", "ca.pem")
	copyFiles(t, s, "foreign", files)
	client := dial(t, s.address, WithTLS(files))
	checkCause(t, listKeys(t, client), ErrClientCertificateRefused, `own\.pem`)
	copyFiles(t, s, "good", files)
	eventually(t, func() bool { return listKeys(t, client) == nil })
}

// A new certificate whose key is not there yet does not end new connections.
func TestAHalfWrittenRenewalLeavesTheOldFilesInUse(t *testing.T) {
	s := securedGateway(t)
	files := secured{folder: t.TempDir()}.files("own", "ca.pem")
	copyFiles(t, s, "good", files)
	cable := newCable(t, s.address)
	client := dial(t, cable.address, WithTLS(files))
	if err := listKeys(t, client); err != nil {
		t.Fatal(err)
	}
	foreign, _ := os.ReadFile(s.file("foreign.pem"))
	write(t, files.CertFile, foreign)
	cable.cut()
	eventually(t, func() bool { return listKeys(t, client) == nil })
	write(t, files.CertFile, nil)
	cable.cut()
	eventually(t, func() bool { return listKeys(t, client) == nil })
}

// The diagnosis finds the same place as grpc.
func TestTargetsOfGRPC(t *testing.T) {
	for target, want := range map[string]string{
		"gateway:50051":                "tcp gateway:50051",
		"gateway":                      "tcp gateway:443",
		"dns:///gateway.internal:1":    "tcp gateway.internal:1",
		"passthrough:///gateway:1":     "tcp gateway:1",
		"[::1]:50051":                  "tcp [::1]:50051",
		"unix:/run/gateway.sock":       "unix /run/gateway.sock",
		"unix:///run/gateway.sock":     "unix /run/gateway.sock",
		"xds:///gateway":               "",
		"dns://8.8.8.8/gateway:1":      "",
		"gateway:50051,other:50051":    "",
		"https://gateway.internal:443": "",
	} {
		network, address, _ := addressOf(target)
		if found := strings.TrimSpace(network + " " + address); found != want {
			t.Errorf("%s: %q", target, found)
		}
	}
}
