package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Tool returns the path of a program built by test/tools/build. The name is the one in the cache's bin directory:
// "etcd-3.7", "etcdutl-3.5", "minio", "age", "zstd", "ssh-keygen". A program that is not there fails the test.
func Tool(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := toolsDir()
	if err != nil {
		tb.Fatalf("find the directory of test programs: %v", err)
	}
	path, err := exec.LookPath(filepath.Join(dir, "bin", name))
	if err != nil {
		tb.Fatalf("find test program %s: %v\nhint: run `make tools`", name, err)
	}
	return path
}

// toolsDir is the cache that test/tools/build fills, found by the same rule.
func toolsDir() (string, error) {
	if dir := os.Getenv("DRD_TOOLS"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "drd", "tools"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".cache", "drd", "tools"), nil
}
