package stig

import (
	"fmt"
	"maps"
	"path"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/drd-project/drd/internal/distro"
)

// kubelet compares how the kubelet of a server was started.
func (in inspector) kubelet(n *distro.Node) []Finding {
	k := in.kubeletSettings(n)
	var findings []Finding
	for _, want := range []struct {
		id, control, flag, expected string
		good                        func(string) bool
	}{
		{stigKubeletAnon, "AC-3", "anonymous-auth", "false", is("false")},
		{stigKubeletPort, "AC-3", "read-only-port", "0", is("0")},
		{stigKubeletAuth, "AC-3", "authorization-mode", "Webhook", is("Webhook")},
		{stigIdle, "SC-10", "streaming-connection-idle-timeout", "5m or less, and not 0", func(v string) bool {
			d, err := time.ParseDuration(v)
			return err == nil && d > 0 && d <= 5*time.Minute
		}},
		{stigKernel, "SC-3", "protect-kernel-defaults", "true", is("true")},
	} {
		findings = append(findings, k.compare(want.id, want.control, "kubelet --"+want.flag, want.expected, want.flag, want.good))
	}
	return findings
}

// kubeletSettings are those of the process, else those that RKE2 would start it with. Flags go before the files of its directory,
// of which the last one counts, and those before its file.
func (in inspector) kubeletSettings(n *distro.Node) component {
	flags := distro.ProcessSettings(in.root, "kubelet")
	if flags == nil {
		flags = kubeletArgs(n.Config["kubelet-arg"])
		flags["config-dir"] = path.Join(path.Dir(n.ServerDir), "agent/etc/kubelet.conf.d") // RKE2's own
	}
	settings := make(map[string]string)
	if f := flags["config"]; f != "" {
		maps.Copy(settings, in.kubeletFile(f))
	}
	if dir := flags["config-dir"]; dir != "" {
		for _, name := range in.list(dir) {
			if strings.HasSuffix(name, ".conf") {
				maps.Copy(settings, in.kubeletFile(path.Join(dir, name)))
			}
		}
	}
	delete(flags, "config")
	delete(flags, "config-dir")
	maps.Copy(settings, flags)
	if len(settings) == 0 {
		return component{why: "not known: it does not run, and nothing says how it would"}
	}
	return component{settings: settings}
}

// kubeletArgs are RKE2's kubelet-arg: one or a list.
func kubeletArgs(v any) map[string]string {
	list, isList := v.([]any)
	if !isList && v != nil {
		list = []any{v}
	}
	args := make(map[string]string)
	for _, a := range list {
		name, value, _ := strings.Cut(strings.TrimLeft(fmt.Sprint(a), "-"), "=")
		args[name] = value
	}
	return args
}

// kubeletFile reads a configuration of the kubelet, by the names of the flags.
func (in inspector) kubeletFile(file string) map[string]string {
	var c struct {
		Authentication struct{ Anonymous struct{ Enabled any } }
		Authorization  struct{ Mode any }
		ReadOnlyPort   any `yaml:"readOnlyPort"`
		Idle           any `yaml:"streamingConnectionIdleTimeout"`
		Kernel         any `yaml:"protectKernelDefaults"`
	}
	if yaml.Unmarshal(in.read(file), &c) != nil {
		return nil
	}
	settings := make(map[string]string)
	for flag, value := range map[string]any{
		"anonymous-auth": c.Authentication.Anonymous.Enabled, "authorization-mode": c.Authorization.Mode, "read-only-port": c.ReadOnlyPort,
		"streaming-connection-idle-timeout": c.Idle, "protect-kernel-defaults": c.Kernel,
	} {
		if value != nil {
			settings[flag] = text(value)
		}
	}
	return settings
}
