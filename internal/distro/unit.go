package distro

import (
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// unitDirs are where systemd looks for units, the first one first (systemd.unit(5), and the links of the manager below /run).
var unitDirs = []string{
	"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early",
	"/etc/systemd/system", "/etc/systemd/system.attached", "/run/systemd/system", "/run/systemd/system.attached", "/run/systemd/generator",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
}

// UnitFiles returns the file of a unit and its drop-ins on the node that begins at root, in the order in which systemd reads them: what
// a later one says counts. None where the unit has no file.
func UnitFiles(root, unit string) []string { return host{root}.unitFiles(unit) }

func (h host) unitFiles(unit string) []string {
	at := slices.IndexFunc(unitDirs, func(dir string) bool { return h.exists(path.Join(dir, unit)) })
	if at < 0 {
		return nil
	}
	dropIns := make(map[string]string) // by their name alone, which is what they are sorted by, over all directories
	for _, sub := range dropInNames(unit) {
		for _, dir := range unitDirs {
			for _, name := range h.list(path.Join(dir, sub)) {
				if _, before := dropIns[name]; !before && strings.HasSuffix(name, ".conf") {
					dropIns[name] = path.Join(dir, sub, name)
				}
			}
		}
	}
	files := []string{path.Join(unitDirs[at], unit)}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		files = append(files, dropIns[name])
	}
	return files
}

// dropInNames are the directories of a unit's drop-ins, its own first: for drd-verify.service also drd-.service.d and service.d.
func dropInNames(unit string) []string {
	kind := path.Ext(unit)
	names := []string{unit + ".d"}
	base := strings.TrimSuffix(unit, kind)
	for dash := strings.LastIndex(base, "-"); dash > 0; dash = strings.LastIndex(base[:dash], "-") {
		names = append(names, base[:dash+1]+kind+".d")
	}
	return append(names, strings.TrimPrefix(kind, ".")+".d")
}

// ServiceSettings are the values of the section [Service] in the files of a unit, by key, in their order. A key without a value takes
// away what was said before, and stays with an empty list. Of systemd's specifiers those for the unit's name are filled in.
func ServiceSettings(root, unit string, files []string) map[string][]string {
	settings := make(map[string][]string)
	base := strings.TrimSuffix(unit, path.Ext(unit))
	specifiers := strings.NewReplacer("%n", unit, "%N", base, "%p", base, "%%", "%")
	for _, file := range files {
		section := ""
		for _, line := range unitLines(string(host{root}.read(file))) {
			if line[0] == '[' {
				section = line
				continue
			}
			key, value, found := strings.Cut(line, "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			switch {
			case !found || section != "[Service]":
			case value == "":
				settings[key] = []string{}
			default:
				settings[key] = append(settings[key], specifiers.Replace(value))
			}
		}
	}
	return settings
}

// unitLines joins lines that end with a backslash, and leaves out comments and empty lines, also in between.
func unitLines(text string) []string {
	var lines []string
	joined := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		begun, goesOn := strings.CutSuffix(line, `\`)
		joined += begun + " "
		if !goesOn {
			lines, joined = append(lines, strings.TrimSpace(joined)), ""
		}
	}
	if joined = strings.TrimSpace(joined); joined != "" {
		lines = append(lines, joined)
	}
	return lines
}

// service is with which variables and arguments systemd starts a unit, and the files that say so. No evidence: there is no such unit.
func (h host) service(unit string) (variables, args, evidence []string) {
	evidence = h.unitFiles(unit)
	s := ServiceSettings(h.root, unit, evidence)
	for _, value := range s["Environment"] {
		variables = append(variables, unquoted(value)...)
	}
	for _, value := range s["EnvironmentFile"] {
		file := strings.TrimPrefix(value, "-")
		variables = append(variables, environmentFile(h.read(file))...)
		if h.exists(file) {
			evidence = append(evidence, file)
		}
	}
	if commands := s["ExecStart"]; len(commands) > 0 {
		args = unquoted(commands[len(commands)-1])
	}
	return variables, args, evidence
}

// unquoted splits at spaces. Quotes are taken away: neither names nor paths of etcd have spaces.
func unquoted(value string) []string {
	return strings.Fields(strings.NewReplacer(`"`, "", `'`, "").Replace(value))
}

// EnvironmentFiles are the variables of files as EnvironmentFile= of a unit names them, "NAME=value" each: a path that may begin with a
// dash and have wildcards.
func EnvironmentFiles(root, value string) []string {
	found, err := filepath.Glob(filepath.Join(root, strings.TrimPrefix(value, "-")))
	if err != nil {
		return nil
	}
	var variables []string
	for _, f := range found {
		variables = append(variables, environmentFile(host{"/"}.read(f))...)
	}
	return variables
}
