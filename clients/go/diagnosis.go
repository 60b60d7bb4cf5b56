package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"time"
)

// diagnosisWithin bounds how long the cause of a failure is looked for.
const diagnosisWithin = 2 * time.Second

const (
	settingsFrame = 4
	tlsAlert      = 0x15
)

// http2Preface is what an HTTP/2 client sends first: the preface and empty SETTINGS.
var http2Preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")

// diagnosis is why there is no connection.
type diagnosis struct {
	reason  Reason
	message string
}

// diagnose finds out why no connection was made, by making one with the standard library: gRPC has one status for every
// cause. If the gateway answers, the connection was lost. `details` are those of gRPC.
func diagnose(ctx context.Context, target string, files *tlsFiles, details string) diagnosis {
	ctx, cancel := context.WithTimeout(ctx, diagnosisWithin)
	defer cancel()
	lost := diagnosis{ErrConnectionLost, fmt.Sprintf("The connection to %s was lost (%s), and the gateway can be reached "+
		"now. Repeat the call; repeat a change only under the same id.", target, details)}
	network, address, ok := addressOf(target)
	if !ok {
		lost.message = fmt.Sprintf("There is no connection to %s (%s). Check the address.", target, details)
		return lost
	}
	connection, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return notReached(target, address, err)
	}
	defer func() { _ = connection.Close() }()
	until, _ := ctx.Deadline()
	_ = connection.SetDeadline(until)
	var found *diagnosis
	if files == nil {
		found = withoutTLS(target, connection)
	} else {
		found = overTLS(ctx, target, address, connection, files)
	}
	if found != nil {
		return *found
	}
	return lost
}

var targetPattern = regexp.MustCompile(`^(?:(?:dns|passthrough|ipv4|ipv6):(?:///?)?)?(\[[^\]]+\]|[^\[\]:/,]+)(?::(\d+))?$`)

// addressOf returns what to dial for a gRPC target; false for a form such as xds.
func addressOf(target string) (network, address string, ok bool) {
	if path, isUnix := strings.CutPrefix(target, "unix:"); isUnix {
		return "unix", strings.TrimPrefix(path, "//"), true
	}
	found := targetPattern.FindStringSubmatch(target)
	if found == nil {
		return "", "", false
	}
	port := found[2]
	if port == "" {
		port = "443"
	}
	return "tcp", net.JoinHostPort(strings.Trim(found[1], "[]"), port), true
}

func notReached(target, address string, err error) diagnosis {
	var unknown *net.DNSError
	if errors.As(err, &unknown) {
		host, _, _ := net.SplitHostPort(address)
		return diagnosis{ErrGatewayUnreachable,
			fmt.Sprintf("The name %s is unknown here. Check the address %s and DNS.", host, target)}
	}
	if isTimeout(err) {
		return diagnosis{ErrGatewayUnreachable, fmt.Sprintf("%s does not answer within %v. Check the address, and "+
			"firewalls on the way.", target, diagnosisWithin)}
	}
	var system *os.SyscallError
	if errors.As(err, &system) {
		err = system.Err
	}
	return diagnosis{ErrGatewayUnreachable, fmt.Sprintf("%s accepts no connection (%v). Check the address, and whether "+
		"the gateway runs.", target, err)}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// firstFrame sends the preface and returns the beginning of the answer.
func firstFrame(connection net.Conn) ([]byte, error) {
	if _, err := connection.Write(http2Preface); err != nil {
		return nil, err
	}
	answer := make([]byte, 9)
	read, err := io.ReadAtLeast(connection, answer, 1)
	return answer[:read], err
}

func withoutTLS(target string, connection net.Conn) *diagnosis {
	answer, err := firstFrame(connection)
	switch {
	case len(answer) > 3 && answer[3] == settingsFrame:
		return nil
	case isTimeout(err):
		return &diagnosis{ErrGatewayUnreachable, fmt.Sprintf("%s does not answer within %v. Check the address.", target,
			diagnosisWithin)}
	case len(answer) == 0 || answer[0] == tlsAlert:
		return &diagnosis{ErrTLSExpected, fmt.Sprintf("%s closes connections without TLS. Give "+
			"WithTLS(gateway.TLS{CAFile: ..., CertFile: ..., KeyFile: ...}).", target)}
	}
	return &diagnosis{ErrGatewayUnreachable, fmt.Sprintf("%s is not a gateway: it does not speak HTTP/2. Check the port.",
		target)}
}

func overTLS(ctx context.Context, target, address string, connection net.Conn, files *tlsFiles) *diagnosis {
	config, err := files.current()
	if err != nil {
		return &diagnosis{ErrTLSFilesUnusable, err.(*Error).Message}
	}
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	if config.ServerName == "" {
		config.ServerName = "localhost"
	}
	secured := tls.Client(connection, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return handshakeFailed(target, config.ServerName, files.TLS, err)
	}
	if answer, err := firstFrame(secured); len(answer) == 0 && !isTimeout(err) {
		return refused(target, files.TLS, err) // since TLS 1.3, a server refuses a certificate after the handshake
	}
	return nil
}

func handshakeFailed(target, name string, files TLS, err error) *diagnosis {
	var plain tls.RecordHeaderError
	var otherName x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &plain):
		return &diagnosis{ErrTLSUnexpected, fmt.Sprintf("%s does not speak TLS. Call it without WithTLS, or check the port.",
			target)}
	case errors.As(err, &otherName):
		return &diagnosis{ErrWrongHostName, fmt.Sprintf("The certificate of %s is not for the name %s. Call the gateway by a "+
			"name in its certificate, or give this name as TLS.ServerName.", target, name)}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &diagnosis{ErrGatewayNotTrusted, fmt.Sprintf("The certificate of %s is expired or not valid yet (%s). Have it "+
			"renewed, and check this machine's clock.", target, invalid.Detail)}
	case errors.As(err, &verification):
		return &diagnosis{ErrGatewayNotTrusted, fmt.Sprintf("%s did not sign the certificate of %s (%v). Get the current CA "+
			"of the gateway: this file may be older than the certificate.", files.CAFile, target, verification.Err)}
	case isTimeout(err):
		return &diagnosis{ErrGatewayUnreachable, fmt.Sprintf("%s does not answer a TLS handshake within %v. Check the port.",
			target, diagnosisWithin)}
	}
	return refused(target, files, err)
}

func refused(target string, files TLS, err error) *diagnosis {
	if files.CertFile == "" {
		return &diagnosis{ErrClientCertificateRequired, fmt.Sprintf("%s accepts only callers with a certificate. Give "+
			"TLS.CertFile and TLS.KeyFile.", target)}
	}
	alert := ""
	if err != nil && !errors.Is(err, io.EOF) {
		alert = fmt.Sprintf(" (%v)", err)
	}
	return &diagnosis{ErrClientCertificateRefused, fmt.Sprintf("%s refuses the certificate %s%s. Check that it is not expired, "+
		"is made for clients, and is signed by the CA that the gateway trusts for callers.", target, files.CertFile,
		alert)}
}
