// Package systemd holds the units of drd, which the package installs. The program knows the service's text, so that
// `drd check` can tell when a host runs another one.
package systemd

import _ "embed"

//go:embed drd.service
var service string

// Service is the text of drd.service.
func Service() string { return service }
