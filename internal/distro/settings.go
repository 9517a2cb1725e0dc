package distro

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v4"
)

// settings are etcd's, by the name of the flag without dashes: "listen-client-urls". The ways in which etcd takes them come to
// the same.
type settings map[string]string

// fromFlags reads a command line: --name=value and --name value, with one dash or two.
func fromFlags(args []string) settings {
	s := make(settings)
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "-")
		if !isFlag {
			continue
		}
		name = strings.TrimPrefix(name, "-")
		if key, value, found := strings.Cut(name, "="); found {
			s[key] = value
		} else if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			s[name] = args[i+1]
			i++
		} else {
			s[name] = "true"
		}
	}
	return s
}

// fromEnvironment reads ETCD_NAME=value; other variables are left out.
func fromEnvironment(variables []string) settings {
	s := make(settings)
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		if short, ours := strings.CutPrefix(strings.TrimSpace(name), "ETCD_"); ours {
			s[strings.ReplaceAll(strings.ToLower(short), "_", "-")] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return s
}

// environmentFile returns the lines of a file for systemd or a shell that set something.
func environmentFile(text []byte) []string {
	var lines []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if line != "" && line[0] != '#' && strings.Contains(line, "=") {
			lines = append(lines, line)
		}
	}
	return lines
}

// fromFile reads etcd's configuration file. What is nested in it are the transport settings; they get the names of the flags. nil where
// it is none.
func fromFile(text []byte) settings {
	var document map[string]any
	if yaml.Unmarshal(text, &document) != nil {
		return nil
	}
	if document == nil {
		return nil
	}
	s := make(settings)
	take := func(prefix string, m map[string]any) {
		for key, value := range m {
			switch value.(type) {
			case string, bool, int, uint64, float64:
				s[prefix+key] = fmt.Sprint(value)
			}
		}
	}
	take("", document)
	for section, prefix := range map[string]string{"client-transport-security": "", "peer-transport-security": "peer-"} {
		if nested, is := document[section].(map[string]any); is {
			take(prefix, nested)
		}
	}
	return s
}

// endpoint is the URL by which a client on this node reaches the member best: the loopback. "" where none has a port.
func (s settings) endpoint() string {
	var best string
	for text := range strings.SplitSeq(s["listen-client-urls"], ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Port() == "" {
			continue
		}
		name := u.Hostname()
		ip := net.ParseIP(name)
		if ip != nil && ip.IsUnspecified() {
			ip = net.IPv4(127, 0, 0, 1)
			if strings.Contains(name, ":") {
				ip = net.IPv6loopback
			}
			name = ip.String()
		}
		address := u.Scheme + "://" + net.JoinHostPort(name, u.Port())
		if name == "localhost" || ip != nil && ip.IsLoopback() {
			return address
		}
		if best == "" {
			best = address
		}
	}
	return best
}
