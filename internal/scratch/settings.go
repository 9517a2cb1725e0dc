package scratch

import (
	"encoding/json"
	"fmt"
	"strconv"
)

const (
	// clientSocket and peerSocket are the sockets in the child's directory. Old etcds want a host and a port in every URL,
	// so the names look like one.
	clientSocket = "client:0"
	peerSocket   = "peer:0"

	// tick and election make the election of a member with no rival take a tenth of a second, in ms, and not one second.
	tick     = 10
	election = 10 * tick
)

// settings are what a child runs with.
type settings struct {
	DataDir        string `json:"data_dir"` // absolute
	Name           string `json:"name"`
	InitialCluster string `json:"initial_cluster"`
	Token          string `json:"token"`
	PeerURL        string `json:"peer_url"`
	Quota          int64  `json:"quota"` // bytes
	memory         int64  // bytes
}

// argument is the settings as Main reads them.
func (s settings) argument() (string, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("settings of the child: %w", err)
	}
	return string(b), nil
}

// flags are the settings as every etcd since 3.4 understands them. A store is only read here, and thrown away: nothing of
// it needs to reach the disk.
func (s settings) flags() []string {
	flags := []string{
		"--name", s.Name, "--data-dir", s.DataDir,
		"--initial-cluster", s.InitialCluster, "--initial-advertise-peer-urls", s.PeerURL,
		"--listen-peer-urls", "unix://" + peerSocket, // there must be one
		"--listen-client-urls", "unix://" + clientSocket, "--advertise-client-urls", "unix://" + clientSocket,
		"--heartbeat-interval", strconv.Itoa(tick), "--election-timeout", strconv.Itoa(election),
		"--quota-backend-bytes", strconv.FormatInt(s.Quota, 10),
		"--unsafe-no-fsync", "--enable-grpc-gateway=false",
		"--logger", "zap", "--log-outputs", "stderr",
	}
	if s.Token != "" {
		flags = append(flags, "--initial-cluster-token", s.Token)
	}
	return flags
}
