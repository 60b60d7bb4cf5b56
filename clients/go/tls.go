package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
)

// TLS names files in PEM form. They are read again for each new connection if they have changed.
type TLS struct {
	CAFile     string // the CA that signed the gateway's certificate
	CertFile   string // this caller's certificate chain
	KeyFile    string // its private key, not encrypted
	ServerName string // the name in the gateway's certificate, if it is not the host that is called
}

func (t TLS) paths() []string {
	if t.CertFile == "" {
		return []string{t.CAFile}
	}
	return []string{t.CAFile, t.CertFile, t.KeyFile}
}

// look returns what the file system says about each file; nil for one that is not there.
func (t TLS) look() []os.FileInfo {
	var found []os.FileInfo
	for _, path := range t.paths() {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		found = append(found, info)
	}
	return found
}

// unchanged reports whether no file was replaced or rewritten between two looks.
func unchanged(before, after []os.FileInfo) bool {
	return slices.EqualFunc(before, after, func(one, other os.FileInfo) bool {
		if one == nil || other == nil {
			return one == nil && other == nil
		}
		return os.SameFile(one, other) && one.ModTime().Equal(other.ModTime()) && one.Size() == other.Size()
	})
}

// load reads the files. Its error is ErrTLSFilesUnusable.
func (t TLS) load() (*tls.Config, error) {
	if t.CAFile == "" {
		return nil, unusable("CAFile is not given. Give the CA that signed the gateway's certificate.")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, unusable("CertFile and KeyFile belong together: give both or neither.")
	}
	contents := make([][]byte, 0, 3)
	for _, path := range t.paths() {
		content, err := os.ReadFile(path)
		if err != nil {
			var reason *os.PathError
			if errors.As(err, &reason) {
				err = reason.Err
			}
			return nil, unusable("%s cannot be read (%v). Check the path and who may read it.", path, err)
		}
		contents = append(contents, content)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: t.ServerName}
	if !config.RootCAs.AppendCertsFromPEM(contents[0]) {
		return nil, unusable("%s has no certificate in PEM form. Give the CA that signed the gateway's certificate.", t.CAFile)
	}
	if t.CertFile != "" {
		own, err := tls.X509KeyPair(contents[1], contents[2])
		if err != nil {
			return nil, unusable("%s and %s cannot be used together (%v). Give the certificate chain and its own, "+
				"unencrypted key, both in PEM form.", t.CertFile, t.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

func unusable(format string, arguments ...any) *Error {
	return localError(ErrTLSFilesUnusable, codes.Unavailable, EffectNone, fmt.Sprintf(format, arguments...))
}

// tlsFiles holds what the files had when they could last be used.
type tlsFiles struct {
	TLS
	log *slog.Logger

	mu     sync.Mutex
	seen   []os.FileInfo
	config *tls.Config
}

// current returns the config of the files as they are now. Files that cannot be used, such as a certificate whose new
// key is not there yet, leave the former ones in use.
func (f *tlsFiles) current() (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.look()
	if f.config != nil && unchanged(seen, f.seen) {
		return f.config, nil
	}
	loaded, err := f.load()
	switch {
	case err != nil && f.config == nil:
		return nil, err
	case err != nil:
		f.log.Warn("the TLS files changed and cannot be used yet; the old ones stay in use", "error", err)
		return f.config, nil
	}
	if unchanged(seen, f.look()) { // otherwise they are being written: the next connection looks again
		f.seen = seen
	}
	f.config = loaded
	return loaded, nil
}

// reloadingCredentials are transport credentials that look at the files before each handshake.
type reloadingCredentials struct{ files *tlsFiles }

func (c reloadingCredentials) ClientHandshake(
	ctx context.Context, authority string, connection net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.files.current()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(config).ClientHandshake(ctx, authority, connection)
}

func (c reloadingCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for clients")
}

func (c reloadingCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls", ServerName: c.files.ServerName}
}

func (c reloadingCredentials) Clone() credentials.TransportCredentials { return c }

func (c reloadingCredentials) OverrideServerName(string) error {
	return errors.New("give the name as TLS.ServerName")
}
