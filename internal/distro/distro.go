// Package distro finds etcd on a node: who runs it there, where it listens, with which certificates a client is let in, and
// where its data is. It only reads files, asks neither etcd nor the network, and works while etcd is down.
//
// Every distribution is one Distro, in a file of its own, and one line in the table of Known. The order counts: what runs etcd
// for somebody else is recognised before etcd alone.
package distro

import (
	"errors"
	"fmt"

	"github.com/drd-project/drd/internal/hint"
)

// Distro is one way in which etcd comes to a node.
type Distro interface {
	// Name is how people call it: "rke2".
	Name() string
	// find returns nil where the host is no node of this distribution, and an error wrapping ErrNoEtcd where it is one without
	// an etcd of its own.
	find(h host) (*Node, error)
}

// Known are all distributions, in the order in which they are looked for.
func Known() []Distro {
	return []Distro{rancher{"rke2"}, rancher{"k3s"}, microk8s{}, kubeadm{}, plain{}}
}

// ErrNoEtcd is wrapped when there is no etcd on the node that drd could protect.
var ErrNoEtcd = errors.New("there is no etcd on this node")

// Node is what was found. Paths are those of the node; "" is what was not found.
type Node struct {
	Distro string // name of the distribution
	// Evidence says where all this comes from, a path or a process each.
	Evidence  []string
	Endpoint  string // one client URL with port: of the loopback where etcd listens there
	CAFile    string // what the member's certificate is checked with
	CertFile  string // of a client
	KeyFile   string
	DataDir   string // of etcd: the directory with member/
	Manifests string // directory of the static pods, where etcd is one
	Unit      string // systemd unit that runs etcd, or what runs it
	// Config are the merged settings of RKE2 or k3s, by key; nil of others. There may be secrets among them.
	Config map[string]any
	// ServerDir is the directory server of RKE2 or k3s; "" of others.
	ServerDir string
}

// Detect looks at the node whose file system begins at root: "/" is this one. Without any etcd the error wraps ErrNoEtcd and
// carries a hint.
func Detect(root string) (*Node, error) {
	h := host{root}
	for _, d := range Known() {
		n, err := d.find(h)
		if err != nil {
			return nil, fmt.Errorf("look for etcd: %s: %w", d.Name(), err)
		}
		if n != nil {
			n.Distro = d.Name()
			return n, nil
		}
	}
	return nil, hint.New(fmt.Errorf("look for etcd: %w: neither RKE2, k3s nor kubeadm, no process and no service of that name", ErrNoEtcd),
		"run this on a server node of the cluster, as root")
}

// without is ErrNoEtcd for a node on which something else than etcd was found.
func without(advice, format string, args ...any) error {
	return hint.New(fmt.Errorf("%w: %s", ErrNoEtcd, fmt.Sprintf(format, args...)), "%s", advice)
}
