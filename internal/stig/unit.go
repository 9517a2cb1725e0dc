package stig

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/distro"
)

// unit is one of drd's services: what systemd has made of it, or where none runs, what its files come to.
type unit struct {
	name     string
	files    []string // its own and its drop-ins, in the order in which they count
	settings map[string]string
	// source is a finding about where the settings are from, where that is not a loaded unit.
	source *Finding
}

// demand is what is asked of one setting of a unit.
type demand struct {
	control, key, expected string
	good                   func(string) bool
}

func (in inspector) unit(ctx context.Context, name string) unit {
	u := unit{name: name, files: distro.UnitFiles(in.root, name)}
	if !in.systemd {
		u.byFiles(in.root)
		u.note("no systemd runs here: by the unit's files", NotApplicable)
		return u
	}
	shown, err := showUnit(ctx, name)
	switch {
	case err != nil:
		u.byFiles(in.root)
		u.note(err.Error()+": by the unit's files", Fail)
	case shown["LoadState"] == "not-found":
		u.files = nil
	default:
		u.settings = shown
		u.files = append([]string{shown["FragmentPath"]}, strings.Fields(shown["DropInPaths"])...)
		u.files = slices.DeleteFunc(u.files, func(f string) bool { return f == "" || f == "/dev/null" })
	}
	return u
}

func (u *unit) note(found string, result Result) {
	if len(u.files) > 0 {
		u.source = &Finding{ID: "DRD-UNIT", Control: "AC-6", Subject: u.name, Expected: "settings as systemd has loaded them", Found: found, Result: result}
	}
}

// lists are the settings whose values add up. Of the others the last one counts.
var lists = []string{"CapabilityBoundingSet", "RestrictAddressFamilies", "SystemCallFilter", "Environment", "PassEnvironment"}

// byFiles takes the settings that the files come to, in the form in which systemd shows them.
func (u *unit) byFiles(root string) {
	if len(u.files) == 0 {
		return
	}
	u.settings = map[string]string{"LoadState": "loaded", "NeedDaemonReload": "no"}
	for key, values := range distro.ServiceSettings(root, u.name, u.files) {
		switch {
		case key == "EnvironmentFile":
			u.settings["EnvironmentFiles"] = strings.Join(values, "\n")
		case slices.Contains(lists, key):
			u.settings[key] = strings.Join(values, " ")
		case len(values) > 0:
			u.settings[key] = values[len(values)-1]
		}
	}
}

// showTimeout bounds one question of systemd.
const showTimeout = 10 * time.Second

// showUnit asks systemd for the settings of a unit as it has loaded them: with all drop-ins, and with what was set by hand at run time.
// Lines of a key that has several are joined.
func showUnit(ctx context.Context, name string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, showTimeout)
	defer cancel()
	keys := []string{"LoadState", "NeedDaemonReload", "FragmentPath", "DropInPaths", "Environment", "EnvironmentFiles", "PassEnvironment"}
	for _, d := range demands(name) {
		keys = append(keys, d.key)
	}
	out, err := exec.CommandContext(ctx, "systemctl", "show", name, "--property="+strings.Join(keys, ",")).Output()
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s: %w", name, err)
	}
	shown := make(map[string]string)
	for line := range bytes.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		if before := shown[key]; before != "" {
			value = before + "\n" + value
		}
		shown[key] = value
	}
	if shown["LoadState"] == "" {
		return nil, fmt.Errorf("ask systemd for %s: the answer has no LoadState", name)
	}
	return shown, nil
}

// demands are the settings of drd's units that keep what is secret off the disk, and drd away from everything else.
func demands(name string) []demand {
	capabilities, namespaces := []string{"cap_dac_read_search"}, []string{}
	if name == "drd-verify.service" { // it starts its etcd in a namespace of its own
		capabilities, namespaces = append(capabilities, "cap_setfcap"), []string{"user", "net"}
	}
	all := []demand{
		{"CM-5(6)", "UMask", "0077", func(v string) bool { mask, err := strconv.ParseUint(v, 8, 32); return err == nil && mask&0o77 == 0o77 }},
		{"SC-28", "LimitCORE", "0", func(v string) bool { return v == "0" || v == "0:0" }},
		{"SC-28", "MemorySwapMax", "0", func(v string) bool { return v == "0" }},
		{"AC-6", "ProtectSystem", "strict", func(v string) bool { return v == "strict" }},
		{"AC-6", "CapabilityBoundingSet", "none but " + strings.Join(capabilities, ", "), func(v string) bool { return only(v, capabilities) }},
		{"AC-6", "RestrictNamespaces", strings.Join(append([]string{"yes"}, namespaces...), ", "), func(v string) bool {
			return isYes(v) || v != "" && len(namespaces) > 0 && only(v, namespaces)
		}},
		{"AC-6", "RestrictAddressFamilies", "none but AF_INET, AF_INET6, AF_UNIX", func(v string) bool { return v != "" && only(v, []string{"none", "af_inet", "af_inet6", "af_unix"}) }},
		{"AC-6", "SystemCallFilter", "@system-service without @privileged, @keyring, @memlock", filtered},
		{"CM-6", "LoadState", "loaded", func(v string) bool { return v == "loaded" }},
		{"CM-6", "NeedDaemonReload", "no", func(v string) bool { return v == "no" }},
	}
	for _, key := range []string{
		"NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
		"ProtectKernelTunables", "LockPersonality", "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID",
	} {
		all = append(all, demand{"AC-6", key, "yes", isYes})
	}
	return all
}

// isYes as systemd spells it, and reads it.
func isYes(v string) bool {
	return slices.Contains([]string{"yes", "true", "on", "1", "y", "t"}, strings.ToLower(v))
}

// only says that nothing but some words is in a list. A list that begins with ~ is of what is not allowed.
func only(list string, words []string) bool {
	return !slices.ContainsFunc(strings.Fields(strings.ToLower(list)), func(w string) bool { return !slices.Contains(words, w) })
}

// privileged are system calls of the sets that drd's units leave out, one or two of each. systemd shows a filter without its sets.
var privileged = []string{
	"add_key", "bpf", "capset", "chown", "chroot", "finit_module", "init_module", "iopl", "kexec_load", "keyctl", "mlock", "mount", "open_by_handle_at",
	"perf_event_open", "pivot_root", "ptrace", "quotactl", "reboot", "settimeofday", "setuid", "swapon", "umount2",
}

// filtered is the filter that drd ships: as systemd shows it, or as the files have it.
func filtered(v string) bool {
	if strings.Contains(v, "@") {
		return v == "@system-service ~@privileged @keyring @memlock"
	}
	return v != "" && v[0] != '~' && len(privilegedIn(v)) == 0
}

func privilegedIn(filter string) []string {
	var found []string
	for call := range strings.FieldsSeq(filter) {
		if name, _, _ := strings.Cut(call, ":"); slices.Contains(privileged, name) { // it may have an error of its own
			found = append(found, name)
		}
	}
	return found
}

// compare compares the settings of a unit.
func (u unit) compare() []Finding {
	if u.settings == nil {
		return []Finding{{ID: "DRD-UNIT", Control: "AC-6", Subject: u.name, Expected: "the sandbox that drd ships", Found: "not there", Result: NotApplicable}}
	}
	var findings []Finding
	if u.source != nil {
		findings = append(findings, *u.source)
	}
	for _, d := range demands(u.name) {
		value, set := u.settings[d.key]
		f := setting("DRD-UNIT", d.control, u.name+" "+d.key, d.expected, value, func(v string) bool { return set && d.good(v) })
		switch {
		case set && value == "":
			f.Found = "none"
		case d.key == "SystemCallFilter" && len(strings.Fields(value)) > 8:
			f.Found = briefly(value)
		}
		findings = append(findings, f)
	}
	return findings
}

// briefly says of a long filter what counts.
func briefly(filter string) string {
	if filter[0] == '~' {
		return "everything but some"
	}
	if allowed := privilegedIn(filter); len(allowed) > 0 {
		return "with " + strings.Join(allowed, ", ")
	}
	return "as expected"
}

// unitSecrets looks for secrets that are given to a unit in a way that others can see: variables, and credentials that stand in a unit.
// What is found are their names.
func (in inspector) unitSecrets(u unit) []Finding {
	if u.settings == nil {
		return nil
	}
	var inFiles, inUnit []string
	for file := range strings.Lines(u.settings["EnvironmentFiles"]) {
		file, _, _ = strings.Cut(strings.TrimSpace(file), " (ignore_errors=")
		for _, v := range distro.EnvironmentFiles(in.root, file) {
			inFiles = append(inFiles, secretNames(v)...)
		}
	}
	for _, value := range distro.ServiceSettings(in.root, u.name, u.files)["SetCredential"] {
		name, _, _ := strings.Cut(value, ":")
		inUnit = append(inUnit, name)
	}
	var passed []string
	for name := range strings.FieldsSeq(u.settings["PassEnvironment"]) {
		if looksSecret(name) {
			passed = append(passed, name)
		}
	}
	var findings []Finding
	for _, s := range []struct {
		key   string
		names []string
	}{{"Environment", secretNames(u.settings["Environment"])}, {"EnvironmentFile", inFiles}, {"PassEnvironment", passed}, {"SetCredential", inUnit}} {
		f := Finding{ID: "DRD-SECRETS", Control: "IA-5", Subject: u.name + " " + s.key, Expected: "no secrets", Found: "none", Result: Pass}
		if len(s.names) > 0 {
			f.Found, f.Result = strings.Join(s.names, ", "), Fail
		}
		findings = append(findings, f)
	}
	return findings
}

// secretNames returns the names of the variables in Environment= that seem to hold a secret. A path of a file is none.
func secretNames(value string) []string {
	var names []string
	for word := range strings.FieldsSeq(strings.NewReplacer(`"`, " ", `'`, " ").Replace(value)) {
		name, content, found := strings.Cut(word, "=")
		if found && looksSecret(name) && !strings.HasPrefix(content, "/") && content != "" {
			names = append(names, name)
		}
	}
	return names
}

func looksSecret(name string) bool {
	name = strings.ToUpper(name)
	return slices.ContainsFunc([]string{"SECRET", "PASSWORD", "PASSWD", "TOKEN", "PRIVATE_KEY", "ACCESS_KEY", "CREDENTIAL"}, func(word string) bool {
		return strings.Contains(name, word)
	})
}
