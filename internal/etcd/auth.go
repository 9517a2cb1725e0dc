package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/drd-project/drd/internal/hint"
)

// login adds a user's token to each call, and gets a new one when etcd no longer takes the old.
//
// clientv3 can do this, but not well enough: it does not recognize the refusals of etcd 3.4 and 3.5
// (see etcdForm); it logs in for each stream, which fails without a quorum; and it sends an expired
// token along with the login, which 3.4 refuses, so that it logs in again without end.
type login struct {
	username, password string

	// visiting: for another member than the configured one. It shows the token and never the password: where that
	// member is, only the cluster says.
	visiting bool

	turn  chan struct{} // holds one value while somebody logs in or looks at token
	token string
}

func newLogin(username, password string) *login {
	return &login{username: username, password: password, turn: make(chan struct{}, 1)}
}

// visit returns what another member is shown.
func (l *login) visit(ctx context.Context) (*login, error) {
	v := &login{username: l.username, visiting: true, turn: make(chan struct{}, 1)}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	v.token = l.token
	return v, nil
}

// get returns the token, after logging in when there is none but refused. Without a user, or on a
// cluster without users, it is "".
func (l *login) get(ctx context.Context, conn *grpc.ClientConn, refused string) (string, error) {
	if l.username == "" {
		return "", nil
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if l.visiting || (l.token != "" && l.token != refused) {
		return l.token, nil
	}
	r, err := pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: l.username, Password: l.password})
	if errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled) {
		return "", nil // as etcdctl does; it costs no more than the question
	}
	if err != nil {
		return "", err
	}
	l.token = r.GetToken()
	return l.token, nil
}

// unary is a gRPC interceptor. A call that is refused for its token is made once more with a new one.
func (l *login) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method == pb.Auth_Authenticate_FullMethodName {
		return invoke(ctx, method, req, reply, conn, opts...)
	}
	token, err := l.get(ctx, conn, "")
	if err != nil {
		return err
	}
	err = invoke(withToken(ctx, token), method, req, reply, conn, opts...)
	if l.username == "" || l.visiting || !tokenRefused(err) {
		return err
	}
	if token, err = l.get(ctx, conn, token); err != nil {
		return err
	}
	return invoke(withToken(ctx, token), method, req, reply, conn, opts...)
}

func withToken(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}

func tokenRefused(err error) bool {
	err = rpctypes.Error(etcdForm(err))
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision)
}

// readPassword returns "" when no user is configured.
func readPassword(username, path string) (string, error) {
	if username == "" && path == "" {
		return "", nil
	}
	if username == "" || path == "" {
		return "", errors.New("etcd.username and etcd.password_file need each other")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read password of user %q: %w", username, err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read password of user %q: %w", username, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", hint.New(fmt.Errorf("password file %s is accessible to others (mode %04o)", path, mode), "run `chmod 0600 %s`", path)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("read password of user %q: %w", username, err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if password == "" {
		return "", fmt.Errorf("password file %s is empty", path)
	}
	return password, nil
}

// etcdForm gives refusals the form that rpctypes knows. Up to 3.5 the maintenance calls answer with
// the bare error of the auth store, "auth: invalid auth token" and code Unknown.
func etcdForm(err error) error {
	switch s, _ := status.FromError(err); s.Message() {
	case "auth: invalid auth token":
		return rpctypes.ErrGRPCInvalidAuthToken
	case "auth: revision in header is old":
		return rpctypes.ErrGRPCAuthOldRevision
	case "auth: user name is empty":
		return rpctypes.ErrGRPCUserEmpty
	case "auth: permission denied":
		return rpctypes.ErrGRPCPermissionDenied
	}
	return err
}
