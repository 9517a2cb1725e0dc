// Package systemd tests drd as it is installed: the built packages on a machine that boots with systemd, and a real
// etcd and MinIO on it.
//
// The machine is a container of systemd-nspawn with a Debian root file system, which debootstrap makes once, in a cache outside
// of the tree. That takes root, so the tests have a build tag and a target of their own:
//
//	make test-systemd
//
// Nothing of the host is changed, and the machine has no network but its own loopback.
package systemd
