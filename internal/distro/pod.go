package distro

import (
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// pod is what is needed of a static pod's manifest.
type pod struct {
	Spec struct {
		Containers []container `yaml:"containers"`
		Volumes    []struct {
			Name     string `yaml:"name"`
			HostPath struct {
				Path string `yaml:"path"`
			} `yaml:"hostPath"`
		} `yaml:"volumes"`
	} `yaml:"spec"`
}

type container struct {
	Name         string   `yaml:"name"`
	Command      []string `yaml:"command"`
	Args         []string `yaml:"args"`
	Env          []struct{ Name, Value string }
	VolumeMounts []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

// PodSettings are those of a program in a static pod's manifest, by the names of its flags without dashes, as the kubelet starts it.
// nil where the manifest has no such program.
func PodSettings(manifest []byte, program string) map[string]string {
	c := parsePod(manifest).container(program)
	if c == nil {
		return nil
	}
	return c.settings()
}

// EtcdFile are the settings in etcd's own configuration file, by the names of the flags. nil where it is none.
func EtcdFile(text []byte) map[string]string { return fromFile(text) }

// parsePod returns an empty pod for what is none.
func parsePod(manifest []byte) pod {
	var p pod
	if yaml.Unmarshal(manifest, &p) != nil {
		return pod{}
	}
	return p
}

// container is the one that runs a program, or has its name; the only one may have any. Others may stand beside it, in any order.
func (p pod) container(program string) *container {
	all := p.Spec.Containers
	for _, is := range []func(container) bool{
		func(c container) bool { return len(c.Command) > 0 && path.Base(c.Command[0]) == program },
		func(c container) bool { return c.Name == program },
		func(container) bool { return len(all) == 1 },
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return &all[i]
		}
	}
	return nil
}

// settings are the container's flags, and before them the variables that etcd takes for such.
func (c container) settings() settings {
	var variables []string
	for _, e := range c.Env {
		variables = append(variables, e.Name+"="+e.Value)
	}
	s := fromEnvironment(variables)
	maps.Copy(s, fromFlags(append(slices.Clone(c.Command), c.Args...)))
	return s
}

// onHost is a path of a container as the host has it.
func (p pod) onHost(c *container, inside string) string {
	if inside == "" {
		return ""
	}
	for _, m := range c.VolumeMounts {
		if rest, below := strings.CutPrefix(inside, m.MountPath); below && (rest == "" || rest[0] == '/') {
			for _, v := range p.Spec.Volumes {
				if v.Name == m.Name && v.HostPath.Path != "" {
					return path.Join(v.HostPath.Path, rest)
				}
			}
		}
	}
	return inside
}
