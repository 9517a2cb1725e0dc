// Package servers starts the real programs that drd talks to, for tests: etcd in every supported version, and S3
// servers. A test asks for one and gets it listening on 127.0.0.1, healthy, and gone at the end of the test.
//
// The programs come from a cache outside the tree which `make tools` fills (see test/tools/build). A program that
// is missing fails the test: nothing here skips.
//
// Every server runs in a process group of its own and dies with the test binary, however that ends. Its output goes
// to a file, whose tail is shown when it does not start. What is stored here is throw-away: etcd does not fsync
// unless asked to. All of this is for Linux.
package servers
