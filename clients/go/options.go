package gateway

import (
	"errors"
	"log/slog"
	"regexp"
	"strings"

	"google.golang.org/grpc"
)

// Option changes how a [Client] connects.
type Option func(*settings)

type settings struct {
	target string
	tls    *tlsFiles
	token  string
	log    *slog.Logger
	more   []grpc.DialOption
}

// WithTLS uses mutual TLS with these files. Without it, only a gateway on this machine can be called.
func WithTLS(files TLS) Option {
	return func(s *settings) { s.tls = &tlsFiles{TLS: files} }
}

// WithToken sends the development token of a gateway on this machine. Elsewhere, use a client certificate.
func WithToken(token string) Option {
	return func(s *settings) { s.token = token }
}

// WithLogger writes warnings, such as a stream that is opened again, to this logger. The default is slog.Default().
func WithLogger(log *slog.Logger) Option {
	return func(s *settings) { s.log = log }
}

// WithDialOptions adds options of grpc, such as the interceptors or the stats handler of OpenTelemetry. Interceptors run
// for each call after this package's own.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.more = append(s.more, options...) }
}

var localTarget = regexp.MustCompile(`^(?:dns:(?:///)?|passthrough:///)?(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$`)

// check reads the files once, so that a wrong one is an error of Dial.
func (s *settings) check() error {
	isLocal := strings.HasPrefix(s.target, "unix:") || localTarget.MatchString(s.target)
	if s.token != "" && (s.tls != nil || !isLocal) {
		return errors.New("WithToken is for a gateway on this machine without TLS; elsewhere, use a client certificate")
	}
	if s.tls == nil {
		return nil
	}
	s.tls.log = s.log
	_, err := s.tls.current()
	return err
}
