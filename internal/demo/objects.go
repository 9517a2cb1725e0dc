package demo

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// object is one Kubernetes object under the key, and in the encoding, that an API server gives it.
type object struct {
	key   string
	value []byte
	event bool // belongs to an etcd lease, as all events do
}

// kind is one sort of object and how many of them the cluster has. The proportions are those of a
// small cluster: pods and events are most of it, config maps the largest values. Namespaces and
// node leases come first: they stay what they are while the others come and go.
type kind struct {
	name  string // plural, for people
	count int
	make  func(g *generator) object
}

func kinds() []kind {
	return []kind{
		{"namespaces", 20, (*generator).namespace},
		{"node leases", 40, (*generator).lease},
		{"pods", 900, (*generator).pod},
		{"config maps", 300, (*generator).configMap},
		{"secrets", 240, (*generator).secret},
		{"events", 1000, (*generator).event},
	}
}

// generator makes objects. The same seed makes the same ones.
type generator struct {
	*rand.Rand
	serial int // makes names unique
}

func newGenerator() *generator {
	// A fixed seed: what the demo shows is the same every time, as far as clocks allow.
	return &generator{Rand: rand.New(rand.NewPCG(3, 7))}
}

func (g *generator) hex(digits int) string {
	var b strings.Builder
	for range digits {
		b.WriteByte("0123456789abcdef"[g.IntN(16)])
	}
	return b.String()
}

func (g *generator) uid() string {
	return strings.Join([]string{g.hex(8), g.hex(4), g.hex(4), g.hex(4), g.hex(12)}, "-")
}

func (g *generator) node() string        { return fmt.Sprintf("worker-%d", g.IntN(40)) }
func (g *generator) inNamespace() string { return fmt.Sprintf("team-%02d", g.IntN(20)) }

// app is a name such as a deployment has: few of them, for real clusters repeat themselves.
func (g *generator) app() string {
	apps := []string{"checkout", "inventory", "gateway", "ledger", "search", "mailer", "reports", "sessions"}
	return apps[g.IntN(len(apps))]
}

// next names a new object.
func (g *generator) next() (serial int, suffix string) {
	g.serial++
	return g.serial, fmt.Sprintf("%s-%05d", g.hex(9), g.serial)
}

func (g *generator) clock() string {
	return fmt.Sprintf("2026-03-%02dT%02d:%02d:%02dZ", 1+g.IntN(28), g.IntN(24), g.IntN(60), g.IntN(60))
}

func (g *generator) meta(namespace, name string) string {
	return fmt.Sprintf(`{"name":%q,"namespace":%q,"uid":%q,"generation":%d,"creationTimestamp":%q,"labels":{"app.kubernetes.io/name":%q,"app.kubernetes.io/managed-by":"Helm","pod-template-hash":%q},"managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":%q,"fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app.kubernetes.io/name":{},"f:pod-template-hash":{}}}}}]}`,
		name, namespace, g.uid(), 1+g.IntN(9), g.clock(), g.app(), g.hex(9), g.clock())
}

func (g *generator) namespace() object {
	serial, _ := g.next()
	name := fmt.Sprintf("team-%02d", serial-1)
	value := fmt.Sprintf(`{"kind":"Namespace","apiVersion":"v1","metadata":{"name":%q,"uid":%q,"creationTimestamp":%q,"labels":{"kubernetes.io/metadata.name":%q,"pod-security.kubernetes.io/enforce":"restricted"}},"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}}`,
		name, g.uid(), g.clock(), name)
	return object{key: "/registry/namespaces/" + name, value: []byte(value)}
}

func (g *generator) lease() object {
	_, suffix := g.next()
	name := "worker-" + suffix
	value := fmt.Sprintf(`{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":%s,"spec":{"holderIdentity":%q,"leaseDurationSeconds":40,"renewTime":%q}}`,
		g.meta("kube-node-lease", name), name, g.clock())
	return object{key: "/registry/leases/kube-node-lease/" + name, value: []byte(value)}
}

func (g *generator) pod() object {
	_, suffix := g.next()
	namespace, app := g.inNamespace(), g.app()
	name := app + "-" + suffix
	value := fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":%s,"spec":{"volumes":[{"name":"kube-api-access-%s","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],"containers":[%s],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":%q,"nodeName":%q,"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":%q},{"type":"ContainersReady","status":"True","lastTransitionTime":%q}],"podIP":"10.42.%d.%d","startTime":%q,"qosClass":"Burstable"}}`,
		g.meta(namespace, name), g.hex(5), g.containers(app), app, g.node(), g.clock(), g.clock(), g.IntN(256), g.IntN(256), g.clock())
	return object{key: "/registry/pods/" + namespace + "/" + name, value: []byte(value)}
}

func (g *generator) deployment(namespace, name string) object {
	value := fmt.Sprintf(`{"kind":"Deployment","apiVersion":"apps/v1","metadata":%s,"spec":{"replicas":%d,"selector":{"matchLabels":{"app":%q}},"template":{"metadata":{"labels":{"app":%q}},"spec":{"containers":[%s]}}}}`,
		g.meta(namespace, name), 1+g.IntN(5), name, name, g.containers(name))
	return object{key: "/registry/deployments/" + namespace + "/" + name, value: []byte(value)}
}

// containers are one to three of them, so that pods differ in size as they do.
func (g *generator) containers(app string) string {
	var all []string
	for i := range 1 + g.IntN(3) {
		all = append(all, fmt.Sprintf(`{"name":"%s-%d","image":"registry.example.com/%s@sha256:%s","ports":[{"containerPort":%d,"protocol":"TCP"}],"env":[{"name":"LOG_LEVEL","value":"info"},{"name":"POD_IP","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"status.podIP"}}}],"resources":{"limits":{"memory":"%dMi"},"requests":{"cpu":"%dm","memory":"128Mi"}},"livenessProbe":{"httpGet":{"path":"/healthz","port":8080,"scheme":"HTTP"},"periodSeconds":10},"imagePullPolicy":"IfNotPresent"}`,
			app, i, app, g.hex(64), 8080+i, 256<<g.IntN(3), 50+g.IntN(400)))
	}
	return strings.Join(all, ",")
}

// configMap holds a file of 0.5 to 7 KiB, as applications mount them.
func (g *generator) configMap() object {
	_, suffix := g.next()
	namespace := g.inNamespace()
	name := g.app() + "-config-" + suffix
	var file strings.Builder
	for size := 512 + g.IntN(6500); file.Len() < size; {
		fmt.Fprintf(&file, `%s.%s.timeout: %dms\n`, g.app(), g.app(), g.IntN(30000))
	}
	value := fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":%s,"data":{"application.yaml":"%s"}}`, g.meta(namespace, name), file.String())
	return object{key: "/registry/configmaps/" + namespace + "/" + name, value: []byte(value)}
}

// encrypted begins what the API server has encrypted.
const encrypted = "k8s:enc:aesgcm:v1:key-2026:"

// secret is encrypted at rest by the API server, as it should be: bytes that no compression makes smaller.
func (g *generator) secret() object {
	_, suffix := g.next()
	namespace := g.inNamespace()
	value := []byte(encrypted)
	for range 400 + g.IntN(1600) {
		value = append(value, byte(g.Uint32()))
	}
	return object{key: "/registry/secrets/" + namespace + "/" + g.app() + "-" + suffix, value: value}
}

func (g *generator) event() object {
	_, suffix := g.next()
	namespace, app := g.inNamespace(), g.app()
	name := app + "." + suffix
	value := fmt.Sprintf(`{"kind":"Event","apiVersion":"v1","metadata":%s,"involvedObject":{"kind":"Pod","namespace":%q,"name":"%s-%s","uid":%q,"apiVersion":"v1"},"reason":"Unhealthy","message":"Readiness probe failed: HTTP probe failed with statuscode: %d","source":{"component":"kubelet","host":%q},"firstTimestamp":%q,"lastTimestamp":%q,"count":%d,"type":"Warning"}`,
		g.meta(namespace, name), namespace, app, suffix, g.uid(), 500+g.IntN(5), g.node(), g.clock(), g.clock(), 1+g.IntN(50))
	return object{key: "/registry/events/" + namespace + "/" + name, value: []byte(value), event: true}
}

// revise returns the next version of a value: a controller noted when it last looked, or a secret was encrypted again.
func (g *generator) revise(value []byte) []byte {
	const mark = `,"observed":`
	next := bytes.Clone(value)
	if bytes.HasPrefix(next, []byte(encrypted)) {
		for i := len(encrypted); i < len(next); i++ {
			next[i] = byte(g.Uint32())
		}
		return next
	}
	if i := bytes.LastIndex(next, []byte(mark)); i >= 0 {
		next = next[:i]
	} else {
		next = next[:len(next)-1] // the closing brace
	}
	return fmt.Appendf(next, "%s%q}", mark, g.clock())
}
