package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"bench/pb"
)

const callTimeout = 10 * time.Second

var plainID = regexp.MustCompile(`^[A-Za-z0-9._:/+=-]{1,128}$`)

// policy maps a caller to what it may do.
type policy map[string]grant

type grant struct {
	rights, tenants, operators map[string]bool
}

// calls is what every call passes: policy, request id, deadline, metrics and one log line.
type calls struct {
	policy  policy
	rights  map[string]string // by method
	log     *slog.Logger
	counter *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newCalls(policy policy) *calls {
	return &calls{
		policy: policy,
		rights: map[string]string{},
		log:    slog.New(slog.NewJSONHandler(newBufferedLog(), nil)),
		counter: promauto.NewCounterVec(
			prometheus.CounterOpts{Name: "gateway_calls_total", Help: "Calls by method and code."}, []string{"method", "code"}),
		seconds: promauto.NewHistogramVec(
			prometheus.HistogramOpts{Name: "gateway_call_seconds", Help: "Time of calls."}, []string{"method"}),
	}
}

// knowAll reads the right of every served method from its proto.
func (c *calls) knowAll(services map[string]grpc.ServiceInfo) error {
	for name := range services {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			return err
		}
		methods := found.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			method := methods.Get(i)
			options := method.Options().(*descriptorpb.MethodOptions)
			access := proto.GetExtension(options, pb.E_Access).(*pb.Access)
			c.rights[fmt.Sprintf("/%s/%s", name, method.Name())] = access.GetRight()
		}
	}
	return nil
}

func (c *calls) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
	began := time.Now()
	id := requestID(ctx)
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-request-id", id))
	defer func() { err = c.end(ctx, info.FullMethod, id, began, err, recover()) }()
	if err := c.permit(info.FullMethod, request); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return handle(ctx, request)
}

func (c *calls) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	began := time.Now()
	ctx := stream.Context()
	id := requestID(ctx)
	stream.SetTrailer(metadata.Pairs("x-request-id", id))
	defer func() { err = c.end(ctx, info.FullMethod, id, began, err, recover()) }()
	return handle(server, checkedStream{stream, c, info.FullMethod})
}

// checkedStream applies the policy to each message.
type checkedStream struct {
	grpc.ServerStream
	calls  *calls
	method string
}

func (s checkedStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	return s.calls.permit(s.method, message)
}

// permit looks up the method's right, the caller's grant, and the tenant or operator that the request names.
func (c *calls) permit(method string, request any) error {
	right, known := c.rights[method]
	granted, named := c.policy["local"]
	if !known || !named || !(granted.rights["*"] || granted.rights[right]) {
		return refuse(codes.PermissionDenied, "NOT_ALLOWED", "The policy does not allow this call.")
	}
	if about, ok := request.(interface{ GetTenantId() string }); ok && !granted.tenants[about.GetTenantId()] {
		return refuse(codes.NotFound, "TENANT_UNKNOWN", "No such tenant.")
	}
	if about, ok := request.(interface{ GetOperatorCode() string }); ok && !granted.operators[about.GetOperatorCode()] {
		return refuse(codes.NotFound, "OPERATOR_UNKNOWN", "No such operator.")
	}
	return nil
}

func (c *calls) end(ctx context.Context, method, id string, began time.Time, err error, panicked any) error {
	if panicked != nil {
		c.log.Error("panic", "method", method, "request_id", id, "cause", fmt.Sprint(panicked))
		err = refuse(codes.Internal, "INTERNAL", "The gateway failed.")
	}
	took := time.Since(began)
	code := status.Code(err)
	c.counter.WithLabelValues(method, code.String()).Inc()
	c.seconds.WithLabelValues(method).Observe(took.Seconds())
	c.log.LogAttrs(ctx, slog.LevelInfo, "call",
		slog.String("method", method), slog.String("caller", "local"), slog.String("request_id", id),
		slog.String("code", code.String()), slog.Float64("duration_ms", float64(took.Microseconds())/1000))
	return err
}

func requestID(ctx context.Context) string {
	if given := metadata.ValueFromIncomingContext(ctx, "x-request-id"); len(given) > 0 && plainID.MatchString(given[0]) {
		return given[0]
	}
	return newID()
}

func newID() string {
	return uuid.Must(uuid.NewV7()).String()
}

func refuse(code codes.Code, reason, message string) error {
	made, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "gateway.phoenix"})
	if err != nil {
		return status.Error(code, message)
	}
	return made.Err()
}

// bufferedLog writes to stderr ten times a second, or when 64 KiB wait.
type bufferedLog struct {
	mutex  sync.Mutex
	writer *bufio.Writer
}

func newBufferedLog() *bufferedLog {
	made := &bufferedLog{writer: bufio.NewWriterSize(os.Stderr, 64*1024)}
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			made.mutex.Lock()
			_ = made.writer.Flush()
			made.mutex.Unlock()
		}
	}()
	return made
}

func (b *bufferedLog) Write(line []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.writer.Write(line)
}
