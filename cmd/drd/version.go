package main

import (
	"cmp"
	"crypto/fips140"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/drd-project/drd/internal/repo"
)

// version and commit are set by the build of the packages (-ldflags "-X main.version=… -X main.commit=…"), which keeps everything else
// of the checkout out; else the module's own say it.
var version, commit string

type versionInfo struct {
	Version    string `json:"version"`
	Commit     string `json:"commit,omitempty"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
	FIPSModule string `json:"fips_module"` // "" when off
}

func currentVersion() versionInfo {
	v := versionInfo{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v.Version == "" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && commit == "" {
				v.Commit = s.Value
			}
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	if fips140.Enabled() {
		v.FIPSModule = fips140.Version()
	}
	return v
}

// build is what manifests say of the drd that wrote them.
func build() repo.Build {
	v := currentVersion()
	return repo.Build{Version: v.Version, FIPSModule: v.FIPSModule}
}

func newVersion(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "say what this binary is",
		RunE: func(*cobra.Command, []string) error {
			v := currentVersion()
			if asJSON {
				return a.writeJSON(v)
			}
			fips := "off"
			if v.FIPSModule != "" {
				fips = v.FIPSModule
			}
			fmt.Fprintf(a.out, "drd %s\ncommit: %s\nbuilt with: %s for %s\nFIPS 140 module: %s\n", v.Version, cmp.Or(v.Commit, "unknown"), v.Go, v.Platform, fips)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return c
}
