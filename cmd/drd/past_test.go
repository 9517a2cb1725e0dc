package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/yaml"

	"github.com/drd-project/drd/test/servers"
)

// disaster is a cluster of Kubernetes objects that was archived while somebody deleted a namespace.
type disaster struct {
	t       *testing.T
	dir     string
	objects map[string]string // what an API server stored, by key
	client  *clientv3.Client

	good, gone  int64 // revisions: the last good one, and the one after which nothing happened any more
	before, end time.Time
}

// secret is what no output may have unless it was asked for.
const secret = "Planted0Secret"

// secretBase64 is how JSON has it.
var secretBase64 = base64.StdEncoding.EncodeToString([]byte(secret))

// TestPast tells the story that docs/past.md tells, with a daemon that archives and the commands of that page.
func TestPast(t *testing.T) {
	d := newDisaster(t)
	d.happen()
	t.Run("docs", d.in((*disaster).docs))
	t.Run("log", d.in((*disaster).log))
	t.Run("diff", d.in((*disaster).diff))
	t.Run("extract", d.in((*disaster).extract))
	t.Run("refused", d.in((*disaster).refused))
	t.Run("nothing is left", d.in((*disaster).nothingLeft))
}

func (d *disaster) in(f func(*disaster)) func(*testing.T) {
	return func(t *testing.T) {
		sub := *d
		sub.t = t
		f(&sub)
	}
}

func newDisaster(t *testing.T) *disaster {
	t.Helper()
	e := servers.StartEtcd(t, servers.EtcdConfig{})
	d := &disaster{t: t, dir: t.TempDir(), client: e.Client(t), objects: objects(t)}
	d.drd("keygen", "--dir", "keys", "--name", "node-1")
	for _, dir := range []string{"target", "tmp"} {
		if err := os.Mkdir(filepath.Join(d.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`cluster: prod-east
etcd: {endpoints: [%q]}
state_dir: %[2]s/state
runtime_dir: %[2]s/run
seal: {recipients_file: keys/recipient.txt}
signing: {key_file: keys/signing.key}
trust: {file: keys/allowed_signers}
archive: {enabled: true, flush_interval: 1s}
metrics: {listen: "127.0.0.1:%d"}
targets: [{name: primary, dir: %[2]s/target}]
`, e.Endpoint(), d.dir, servers.FreePort(t))
	config = strings.ReplaceAll(config, "keys/", filepath.Join(d.dir, "keys")+"/")
	if err := os.WriteFile(filepath.Join(d.dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// objects are a small namespace, and what is beside it.
func objects(t *testing.T) map[string]string {
	t.Helper()
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "6f3b5f0e-0000-4000-8000-000000000001", CreationTimestamp: metav1.Now()}
	}
	owned := meta("shop", "web-1-x")
	yes := true
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1", UID: "9", Controller: &yes}}
	all := make(map[string]string)
	for key, o := range map[string]runtime.Object{
		"namespaces/shop":          &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: meta("", "shop")},
		"namespaces/other":         &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: meta("", "other")},
		"deployments/shop/web":     &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: meta("shop", "web")},
		"services/specs/shop/web":  &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta("shop", "web"), Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.7"}},
		"configmaps/shop/settings": &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta("shop", "settings"), Data: map[string]string{"größe": "1"}},
		"secrets/shop/db":          &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta("shop", "db"), Data: map[string][]byte{"password": []byte(secret)}},
		"pods/shop/web-1-x":        &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: owned},
		"secrets/other/db":         &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta("other", "db"), Data: map[string][]byte{"password": []byte(secret)}},
	} {
		var value bytes.Buffer
		scheme := runtime.NewScheme()
		if err := protobuf.NewSerializer(scheme, scheme).Encode(o, &value); err != nil {
			t.Fatal(err)
		}
		all["/registry/"+key] = value.String()
	}
	all["/registry/example.com/widgets/shop/blue"] = `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"blue","namespace":"shop","uid":"2"},"spec":{"big":9007199254740993}}`
	all["/registry/ranges/serviceips"] = "k8s\x00"
	all["/registry/secrets/vault/sealed"] = "k8s:enc:aescbc:v1:key1:" + secret
	all["a/\xff"] = secret
	all["a/\xff\xff"] = secret
	return all
}

// happen lets a daemon archive while the namespace is filled and deleted.
func (d *disaster) happen() {
	d.t.Helper()
	daemon := exec.CommandContext(d.t.Context(), "drd", "daemon", "--config", filepath.Join(d.dir, "config.yaml"))
	daemon.Cancel = func() error { return daemon.Process.Signal(os.Interrupt) }
	daemon.Stdout, daemon.Stderr = d.t.Output(), d.t.Output()
	if err := daemon.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.archived(1, func() { d.put("tick", "x") }) // only what is written after the first snapshot comes into a segment
	for _, key := range slices.Sorted(mapKeys(d.objects)) {
		d.good = d.put(key, d.objects[key])
	}
	d.before = d.nextSecond(d.good)
	d.good = d.put("/registry/namespaces/shop", d.objects["/registry/namespaces/shop"]) - 1
	for _, prefix := range []string{"deployments/shop/", "configmaps/shop/", "pods/shop/", "secrets/shop/", "services/specs/shop/", "example.com/widgets/shop/", "namespaces/shop"} {
		deleted, err := d.client.Delete(d.t.Context(), "/registry/"+prefix, clientv3.WithPrefix())
		if err != nil || deleted.Deleted == 0 {
			d.t.Fatalf("delete %s: %v", prefix, err)
		}
		d.gone = deleted.Header.Revision
	}
	d.end = d.nextSecond(d.gone)
	d.archived(d.put("tick", "y"), func() {}) // so that the archive tells of the second before
	if err := daemon.Process.Signal(os.Interrupt); err != nil {
		d.t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil && daemon.ProcessState.ExitCode() != 0 && daemon.ProcessState.ExitCode() != exitInterrupted {
		d.t.Fatal(err)
	}
}

// nextSecond waits until the daemon has seen all that happened, up to a revision, and until that is of another second than what will.
func (d *disaster) nextSecond(revision int64) time.Time {
	d.t.Helper()
	d.archived(revision, func() {})
	at := time.Now().UTC().Truncate(time.Second).Add(time.Second)
	time.Sleep(time.Until(at) + 300*time.Millisecond) // the clocks of processes may differ by some milliseconds
	return at
}

func (d *disaster) put(key, value string) int64 {
	d.t.Helper()
	put, err := d.client.Put(d.t.Context(), key, value)
	if err != nil {
		d.t.Fatal(err)
	}
	return put.Header.Revision
}

// archived waits until the target has a segment that reaches a revision, and does something meanwhile.
func (d *disaster) archived(revision int64, meanwhile func()) {
	d.t.Helper()
	for range 200 {
		meanwhile()
		records, err := filepath.Glob(filepath.Join(d.dir, "target", "prod-east", "archive", "*", "*.signed"))
		if err != nil {
			d.t.Fatal(err)
		}
		for _, r := range records {
			var first, last int64
			if _, err := fmt.Sscanf(filepath.Base(r), "%d-%d-", &first, &last); err == nil && first <= last && last >= revision {
				return
			}
		}
		time.Sleep(300 * time.Millisecond)
	}
	d.t.Fatal("nothing was archived")
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// command runs drd in the directory of the test.
func (d *disaster) command(args ...string) (code int, stdout, stderr string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "drd", args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(d.dir, "tmp"))
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		d.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// drd fails the test unless drd succeeds.
func (d *disaster) drd(args ...string) (stdout, stderr string) {
	d.t.Helper()
	code, stdout, stderr := d.command(args...)
	if code != exitDone {
		d.t.Fatalf("drd %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout, stderr
}

// past is drd with what log, diff and extract need.
func (d *disaster) past(args ...string) (stdout, stderr string) {
	d.t.Helper()
	return d.drd(append(args, "--config", "config.yaml", "--identity", "keys/identity.txt")...)
}

// docs runs the commands of docs/past.md as they stand there, at the times of this disaster.
func (d *disaster) docs() {
	commands := documented(d.t)
	if len(commands) < 7 {
		d.t.Fatalf("the page has %d commands", len(commands))
	}
	for _, args := range commands {
		for i := range args {
			args[i] = strings.NewReplacer("file:///mnt/nas/drd", "file://"+d.dir+"/target", "identity.txt", "keys/identity.txt",
				"allowed_signers", "keys/allowed_signers", "2026-11-22T10:00:00Z", d.before.Format(time.RFC3339),
				"2026-11-22T11:00:00Z", d.end.Format(time.RFC3339), "48889", fmt.Sprint(d.good), "49120", fmt.Sprint(d.gone)).Replace(args[i])
		}
		out, _ := d.drd(args...)
		if strings.Contains(strings.Join(args, " "), "--summary") {
			wantLine(d.t, out, `^shop +0 +0 +6 +the namespace itself was DELETED$`)
		}
		if strings.Contains(strings.Join(args, " "), `"a/\xff"`) {
			wantLine(d.t, out, `"a/\\xff\\xff"$`)
		}
	}
	written, err := os.ReadFile(filepath.Join(d.dir, "shop.yaml"))
	if err != nil || !strings.Contains(string(written), "kind: Deployment") {
		d.t.Errorf("shop.yaml: %v\n%s", err, written)
	}
}

// documented are the commands of the page, split as a shell would.
func documented(t *testing.T) (commands [][]string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "past.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
			var args []string
			for _, word := range strings.Fields(line) {
				args = append(args, strings.Trim(word, "'"))
			}
			if len(args) == 0 || args[0] != "drd" {
				t.Fatalf("no command of drd: %s", line)
			}
			commands = append(commands, args[1:])
		}
	}
	return commands
}

func wantLine(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile(`(?m)` + pattern).MatchString(text) {
		t.Errorf("no line is like %s:\n%s", pattern, text)
	}
}

// log: every change with the second in which it happened, and no value that was not asked for.
func (d *disaster) log() {
	out, _ := d.past("log", "--namespace", "shop", "--from", fmt.Sprint(d.good+1))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 1+8 {
		d.t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	for _, line := range lines[1:] {
		at, err := time.Parse(time.RFC3339, strings.Fields(line)[5])
		if err != nil || at.Before(d.before) || !at.Before(d.end) {
			d.t.Errorf("not between %s and %s: %s (%v)", d.before, d.end, line, err)
		}
	}
	wantLine(d.t, out, fmt.Sprintf(`^%d +put +2 +\d+ +- +\S+Z +/registry/namespaces/shop$`, d.good+1))
	wantLine(d.t, out, fmt.Sprintf(`^%d +delete +- +- +- +\S+Z +/registry/namespaces/shop$`, d.gone))

	out, _ = d.past("log", "--key", "/registry/secrets/shop/db", "--from", d.before.Format(time.RFC3339), "--to", d.end.Format(time.RFC3339))
	if strings.Count(out, "\n") != 2 {
		d.t.Errorf("one deletion lies between the two:\n%s", out)
	}
	out, _ = d.past("log", "--key", "/registry/secrets/shop/", "--prefix", "--from", "2", "--show-values")
	wantLine(d.t, out, `^    \{"apiVersion":"v1","data":\{"password":"`+secretBase64+`"\},"kind":"Secret"`)
	out, _ = d.past("log", "--key", "a/\xff", "--from", "2", "--json", "--show-values")
	var doc struct {
		Revision int64 `json:"to_revision"`
		Changes  []struct {
			Key, Change string
			KeyBase64   []byte `json:"key_base64"`
			Value       []byte `json:"value_base64"`
			Time        time.Time
		}
		Found int
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	if doc.Found != 1 || len(doc.Changes) != 1 || string(doc.Changes[0].KeyBase64) != "a/\xff" || string(doc.Changes[0].Value) != secret || doc.Changes[0].Time.IsZero() {
		d.t.Errorf("%s", out)
	}
	out, _ = d.past("log", "--key", "nobody", "--from", "2")
	wantLine(d.t, out, `^nothing happened to it up to revision \d+$`)
}

// diff: the namespace that is gone shows at a glance.
func (d *disaster) diff() {
	out, _ := d.past("diff", "--from", d.before.Format(time.RFC3339), "--to", d.end.Format(time.RFC3339))
	want := fmt.Sprintf(`from  revision %d, %s
to    revision %d, %s
deleted   REVISION TIME configmaps/shop/settings
deleted   REVISION TIME deployments/shop/web
deleted   REVISION TIME widgets.example.com/shop/blue
deleted   REVISION TIME namespaces/shop
deleted   REVISION TIME pods/shop/web-1-x
deleted   REVISION TIME secrets/shop/db
deleted   REVISION TIME services/shop/web

NAMESPACE  CREATED  CHANGED  DELETED
shop       0        0        6  the namespace itself was DELETED

RESOURCE             CREATED  CHANGED  DELETED
configmaps           0        0        1
deployments          0        0        1
namespaces           0        0        1
pods                 0        0        1
secrets              0        0        1
services             0        0        1
widgets.example.com  0        0        1

0 keys created, 0 changed, 7 deleted
`, d.good, d.before.Format(time.RFC3339), d.gone, d.end.Format(time.RFC3339))
	masked := regexp.MustCompile(`(?m)^(deleted  ) \d+ +\S+Z  `).ReplaceAllString(out, "$1 REVISION TIME ")
	if diff := cmp.Diff(want, masked); diff != "" {
		d.t.Error(diff)
	}
	out, _ = d.past("diff", "--from", fmt.Sprint(d.good), "--prefix", "/registry/secrets/", "--show-values")
	wantLine(d.t, out, `^  - \{"apiVersion":"v1","data":\{"password":"`+secretBase64+`"\}`)
	out, _ = d.past("diff", "--from", "2", "--to", fmt.Sprint(d.good), "--json")
	var doc struct {
		Differences []struct{ Fate, Key string }
		Created     int
		Changed     int
		Namespaces  []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Created+doc.Changed != len(doc.Differences) || doc.Created < 10 || len(doc.Namespaces) != 3 {
		d.t.Errorf("%v: %s", err, out)
	}
	if strings.Contains(out, secret) || strings.Contains(out, secretBase64) {
		d.t.Error("a value shows that nobody asked for")
	}
}

// extract: what comes out can be read again, in the order in which it can be applied, and holds nothing of the cluster.
func (d *disaster) extract() {
	at := d.before.Format(time.RFC3339)
	_, notes := d.past("extract", "--namespace", "shop", "--at", at, "--output", "out.yaml")
	wantLine(d.t, notes, `left out: 1 object, made again by ReplicaSet`)
	wantLine(d.t, notes, `it holds 1 Secret of Kubernetes as plain text$`)
	content, err := os.ReadFile(filepath.Join(d.dir, "out.yaml"))
	if err != nil {
		d.t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(d.dir, "out.yaml")); err != nil || info.Mode().Perm() != 0o600 {
		d.t.Errorf("%v, %v", info, err)
	}
	var kinds []string
	for _, doc := range strings.Split(string(content), "---\n")[1:] {
		var o struct {
			Kind     string
			Metadata map[string]any
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			d.t.Fatal(err)
		}
		if o.Kind != "Namespace" && o.Metadata["namespace"] != "shop" || o.Metadata["uid"] != nil {
			d.t.Errorf("%s", doc)
		}
		kinds = append(kinds, o.Kind)
	}
	if diff := cmp.Diff([]string{"Namespace", "Secret", "ConfigMap", "Service", "Deployment", "Widget"}, kinds); diff != "" {
		d.t.Error(diff)
	}
	_, _ = d.past("extract", "--namespace", "shop", "--at", at, "--include-owned", "--format", "json", "--output", "out.json")
	content, err = os.ReadFile(filepath.Join(d.dir, "out.json"))
	var list struct {
		Kind  string
		Items []struct{ Kind string }
	}
	if jsonErr := json.Unmarshal(content, &list); err != nil || jsonErr != nil || list.Kind != "List" || len(list.Items) != 7 {
		d.t.Errorf("%v, %v: %s", err, jsonErr, content)
	}
	out, notes := d.past("extract", "--prefix", `"a/\xff"`, "--at", at, "--format", "raw", "--output", "-")
	if strings.Count(out, "\n") != 2 || !strings.Contains(out, `{"key_base64":"YS//","value_base64":"`+secretBase64+`"`) || strings.Contains(notes, secret) {
		d.t.Errorf("%s%s", out, notes)
	}
	_, notes = d.past("extract", "--prefix", "/registry/", "--at", at, "--keep-going", "--output", "rest.yaml")
	wantLine(d.t, notes, `/registry/secrets/vault/sealed: the API server has encrypted it$`)
	wantLine(d.t, notes, `left out, as no object of Kubernetes is in it: 1 key; --format raw writes it all$`)
}

// refused: what cannot be meant, or cannot be done, leaves no file.
func (d *disaster) refused() {
	with := func(args ...string) []string {
		return append(args, "--config", "config.yaml", "--identity", "keys/identity.txt")
	}
	at := d.before.Format(time.RFC3339)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "whose history", with("log")},
		{exitUsage, "exclude each other", with("log", "--key", "a", "--namespace", "b")},
		{exitUsage, "a revision is a number from 1 on", with("log", "--key", "a", "--from", "0")},
		{exitUsage, "give a time as in RFC 3339", with("log", "--key", "a", "--from", "yesterday")},
		{exitUsage, "--from 9 comes after --to 8", with("log", "--key", "a", "--from", "9", "--to", "8")},
		{exitUsage, "no key to open the snapshot with", []string{"log", "--key", "a", "--config", "config.yaml"}},
		{exitUsage, "names no target", with("log", "--key", "a", "--target", "other")},
		{exitNothing, "nothing to restore", with("log", "--key", "a", "--to", "999999")},
		{exitUsage, "no time to compare with", with("diff")},
		{exitUsage, "exclude each other", with("diff", "--from", "2", "--summary", "--show-values")},
		{exitUsage, "nothing is selected", with("extract", "--at", at, "--output", "none")},
		{exitUsage, "no file to write to", with("extract", "--at", at, "--namespace", "shop")},
		{exitUsage, "none of yaml, json and raw", with("extract", "--at", at, "--namespace", "shop", "--output", "none", "--format", "xml")},
		{exitUsage, "exclude each other", with("extract", "--at", at, "--revision", "3", "--namespace", "shop", "--output", "none")},
		{exitUsage, "is there already", with("extract", "--at", at, "--namespace", "shop", "--output", "config.yaml")},
		{exitNothing, "no such key was there", with("extract", "--revision", fmt.Sprint(d.gone), "--namespace", "shop", "--output", "none")},
		{exitFailed, "1 value is encrypted by the API server; nothing was written", with("extract", "--at", at, "--prefix", "/registry/secrets/", "--output", "none")},
		{exitFailed, "made again by their controllers", with("extract", "--at", at, "--prefix", "/registry/pods/", "--output", "none")},
		{exitFailed, "no such file or directory", with("extract", "--at", at, "--namespace", "shop", "--output", "nowhere/none")},
		{exitNothing, "no such key was there", with("extract", "--at", at, "--prefix", "/registry/pods/nobody/", "--output", "none")},
	} {
		code, out, errs := d.command(c.args...)
		if code != c.code || !strings.Contains(errs, c.says) || out != "" || strings.Contains(errs, secret) {
			d.t.Errorf("drd %s: exit code %d, want %d and %q\n%s%s", strings.Join(c.args, " "), code, c.code, c.says, out, errs)
		}
	}
	if _, err := os.Lstat(filepath.Join(d.dir, "none")); !os.IsNotExist(err) {
		d.t.Errorf("a command that failed left a file: %v", err)
	}
}

// nothingLeft: neither working directories nor hidden files.
func (d *disaster) nothingLeft() {
	for _, pattern := range []string{"tmp/*", "tmp/.*", ".drd-*"} {
		left, err := filepath.Glob(filepath.Join(d.dir, pattern))
		if err != nil || len(left) > 0 {
			d.t.Errorf("left over: %q, %v", left, err)
		}
	}
}
