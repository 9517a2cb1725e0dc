// Package monitoring tests what is in the directory monitoring: that rules, dashboard and pages name only metrics which exist, that
// each alert fires and ends in promtool's tests, and that the right one comes out of a real Prometheus and a real Alertmanager when
// something breaks around a real daemon.
package monitoring
