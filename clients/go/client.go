package gateway

import (
	"log/slog"
	"runtime/debug"
	"time"

	gatewayv1 "phoenix.internal/gateway/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // checks the gateway's health as the service config says
	"google.golang.org/grpc/keepalive"
)

const modulePath = "phoenix.internal/gateway"

// Client calls one gateway, or several behind one name. It is safe for use by several goroutines.
//
// Each field is a service of the contract with a method for each RPC. Every error is an [*Error], except io.EOF at the
// end of a stream. A request without event ids gets them, in the request itself: sent again, it is the same events.
type Client struct {
	Events           gatewayv1.EventServiceClient
	Leaderboards     gatewayv1.LeaderboardServiceClient
	LeaderboardAdmin gatewayv1.LeaderboardAdminServiceClient
	Tokens           gatewayv1.TokenServiceClient
	Wallet           gatewayv1.WalletServiceClient
	Operator         gatewayv1.OperatorServiceClient
	Phoenix          gatewayv1.PhoenixServiceClient
	Keys             gatewayv1.KeyServiceClient

	connection *grpc.ClientConn
	log        *slog.Logger
}

// Dial returns a client for a target: host:port, unix:/path, or dns:///name:port for all addresses of a name.
//
// It connects at the first call. Its errors: files of [WithTLS] that cannot be used (ErrTLSFilesUnusable), options that
// contradict each other, and a target that grpc cannot read. Close the client when the process ends.
func Dial(target string, options ...Option) (*Client, error) {
	made := &settings{target: target, log: slog.Default()}
	for _, option := range options {
		option(made)
	}
	if err := made.check(); err != nil {
		return nil, err
	}
	rules, err := newCallRules()
	if err != nil {
		return nil, err
	}
	calls := &calls{settings: made, rules: rules}
	connection, err := grpc.NewClient(target, append(dialOptions(calls), made.more...)...)
	if err != nil {
		return nil, err
	}
	return &Client{
		Events:           gatewayv1.NewEventServiceClient(connection),
		Leaderboards:     gatewayv1.NewLeaderboardServiceClient(connection),
		LeaderboardAdmin: gatewayv1.NewLeaderboardAdminServiceClient(connection),
		Tokens:           gatewayv1.NewTokenServiceClient(connection),
		Wallet:           gatewayv1.NewWalletServiceClient(connection),
		Operator:         gatewayv1.NewOperatorServiceClient(connection),
		Phoenix:          gatewayv1.NewPhoenixServiceClient(connection),
		Keys:             gatewayv1.NewKeyServiceClient(connection),
		connection:       connection,
		log:              made.log,
	}, nil
}

func dialOptions(calls *calls) []grpc.DialOption {
	var security credentials.TransportCredentials = insecure.NewCredentials()
	if calls.tls != nil {
		security = reloadingCredentials{calls.tls}
	}
	backoffs := backoff.DefaultConfig
	backoffs.BaseDelay, backoffs.MaxDelay = 100*time.Millisecond, time.Second
	return []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultServiceConfig(calls.rules.text),
		grpc.WithDisableServiceConfig(), // of DNS
		grpc.WithNoProxy(),
		grpc.WithUserAgent("phoenix-gateway-client-go/" + Version()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoffs, MinConnectTimeout: 5 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{ // the gateway allows a ping in 10 s
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		grpc.WithStatsHandler(sentHandler{}),
		grpc.WithChainUnaryInterceptor(calls.unary),
		grpc.WithChainStreamInterceptor(calls.stream),
	}
}

// Close ends every call and the connection.
func (c *Client) Close() error { return c.connection.Close() }

// Connection returns the connection for stubs of your own. Calls over it are made as those of the client.
func (c *Client) Connection() *grpc.ClientConn { return c.connection }

// Version returns the version of this module, such as "0.1.0"; "devel" where the build does not know it.
func Version() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, module := range append(build.Deps, &build.Main) {
		if module.Path == modulePath && len(module.Version) > 1 && module.Version[0] == 'v' {
			return module.Version[1:]
		}
	}
	return "devel"
}
