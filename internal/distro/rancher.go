package distro

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"strings"

	"go.yaml.in/yaml/v4"
)

// rancher is RKE2 or k3s: both come from one source and have the same layout below directories of their names. RKE2 runs
// etcd as a static pod, k3s within its own process.
type rancher struct{ name string }

func (r rancher) Name() string { return r.name }

func (r rancher) find(h host) (*Node, error) {
	flags, variables, evidence := r.started(h)
	files, config := r.config(h, cmp.Or(flags["config"], variables["config"]))
	dataDir := cmp.Or(flags["data-dir"], text(config["data-dir"]), variables["data-dir"], "/var/lib/rancher/"+r.name)
	if flags["data-dir"] != "" || variables["data-dir"] != "" {
		files = append(files, evidence...)
	}
	external := flags["datastore-endpoint"] + text(config["datastore-endpoint"]) + variables["datastore-endpoint"]
	server := path.Join(dataDir, "server")
	switch {
	case !h.exists(server) && !h.exists(path.Join(dataDir, "agent")):
		return nil, nil
	case !h.exists(server):
		return nil, without("run this on a server node", "it is an agent")
	case external != "":
		return nil, without("back up that database by its own means", "the cluster is kept in an external database (datastore-endpoint)")
	case !h.exists(path.Join(server, "db/etcd")) && h.exists(path.Join(server, "db/state.db")):
		return nil, without("begin with --cluster-init to have etcd", "the cluster is kept in SQLite (%s/db/state.db)", server)
	case !h.exists(path.Join(server, "db/etcd")):
		return nil, without("run this on a server with the role etcd", "there is no directory %s/db/etcd", server)
	}
	n := &Node{Evidence: append(files, path.Join(server, "db/etcd")), DataDir: path.Join(server, "db/etcd"), ServerDir: server, Config: config}
	r.client(h, n)
	n.Unit = r.unit()
	if r.name == "rke2" {
		n.Manifests = path.Join(dataDir, "agent/pod-manifests")
	}
	return n, nil
}

// unit is the service of a server.
func (r rancher) unit() string {
	if r.name == "rke2" {
		return "rke2-server.service"
	}
	return r.name + ".service"
}

// started is with which flags and variables the service begins. Flags go before the configuration, which goes before variables.
func (r rancher) started(h host) (flags, variables settings, evidence []string) {
	env, args, evidence := h.service(r.unit())
	flags, variables = fromFlags(args), make(settings)
	prefix := strings.ToUpper(r.name) + "_"
	for _, s := range []struct{ long, short, variable string }{{"data-dir", "d", "DATA_DIR"}, {"config", "c", "CONFIG_FILE"}, {"datastore-endpoint", "", "DATASTORE_ENDPOINT"}} {
		flags[s.long] = cmp.Or(flags[s.long], flags[s.short])
		variables[s.long] = variable(env, prefix+s.variable)
	}
	return flags, variables, evidence
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// client finds how to reach the member. Its own configuration file is written by RKE2 and k3s at every start.
func (r rancher) client(h host, n *Node) {
	own := path.Join(n.DataDir, "config")
	if s := fromFile(h.read(own)); s.endpoint() != "" {
		n.Endpoint, n.Evidence = s.endpoint(), append(n.Evidence, own)
	} else {
		n.Endpoint = "https://127.0.0.1:2379"
	}
	tls := path.Join(n.ServerDir, "tls/etcd")
	n.CAFile = h.first(path.Join(tls, "server-ca.crt"))
	n.CertFile, n.KeyFile = h.pair([2]string{path.Join(tls, "client.crt"), path.Join(tls, "client.key")})
}

// config merges config.yaml and the files of config.yaml.d in their order, as RKE2 and k3s do: the last one wins. A key
// with a plus adds to a list, and the plus is not part of its name.
func (r rancher) config(h host, main string) (files []string, merged map[string]any) {
	main = cmp.Or(main, fmt.Sprintf("/etc/rancher/%s/config.yaml", r.name))
	paths := []string{main}
	for _, name := range h.list(main + ".d") {
		if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
			paths = append(paths, path.Join(main+".d", name))
		}
	}
	merged = make(map[string]any)
	for _, p := range paths {
		var one map[string]any
		if text := h.read(p); text == nil || yaml.Unmarshal(text, &one) != nil {
			continue
		}
		files = append(files, p)
		add(merged, one)
	}
	return files, merged
}

func add(merged, one map[string]any) {
	for key, value := range maps.All(one) {
		name, more := strings.CutSuffix(key, "+")
		before, wasList := merged[name].([]any)
		after, isList := value.([]any)
		if more && wasList && isList {
			value = append(append([]any(nil), before...), after...)
		}
		merged[name] = value
	}
}

// microk8s keeps its cluster in dqlite, which is no etcd.
type microk8s struct{}

func (microk8s) Name() string { return "microk8s" }

func (microk8s) find(h host) (*Node, error) {
	if !h.exists("/var/snap/microk8s/current/var/kubernetes/backend") {
		return nil, nil
	}
	return nil, without("back up dqlite by the means of MicroK8s", "the cluster is kept in dqlite")
}
