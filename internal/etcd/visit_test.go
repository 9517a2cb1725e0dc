package etcd

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// collector is a server that asks whoever comes for a new login.
type collector struct {
	pb.UnimplementedMaintenanceServer
	pb.UnimplementedAuthServer

	mu        sync.Mutex
	tokens    []string
	passwords []string
}

func (c *collector) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = append(c.tokens, md["token"]...)
	return nil, rpctypes.ErrGRPCInvalidAuthToken
}

func (c *collector) Authenticate(_ context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passwords = append(c.passwords, r.GetPassword())
	return &pb.AuthenticateResponse{Token: "new"}, nil
}

// TestVisitGivesNothingAway: a member list that was tampered with must not lead the root password to a stranger.
func TestVisitGivesNothingAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stranger, server := &collector{}, grpc.NewServer()
	pb.RegisterMaintenanceServer(server, stranger)
	pb.RegisterAuthServer(server, stranger)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	t.Cleanup(server.Stop)

	for _, tls := range []bool{true, false} {
		user := newLogin("root", "the password")
		user.token = "the token"
		c := &Client{
			cfg: Config{Username: "root", DialTimeout: time.Minute}, url: "https://127.0.0.1:2379",
			endpoint: endpoint{network: "tcp", address: "127.0.0.1:2379", tls: tls}, login: user, last: &lastFailure{},
		}
		_, err = c.HashKV(t.Context(), "http://"+listener.Addr().String(), 5)
		if err == nil || tls != errors.Is(err, ErrTLS) {
			t.Errorf("own endpoint with TLS %v: %v", tls, err)
		}
		stranger.mu.Lock()
		if len(stranger.passwords) != 0 {
			t.Errorf("own endpoint with TLS %v: the stranger was told %q", tls, stranger.passwords)
		}
		if shown := slices.Contains(stranger.tokens, "the token"); shown == tls {
			t.Errorf("own endpoint with TLS %v: token shown %v", tls, shown)
		}
		stranger.mu.Unlock()
	}
}
