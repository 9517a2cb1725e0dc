package etcd

import (
	"slices"
	"strconv"
	"strings"
)

// KeepsHashes says whether a server of this version ("3.5.21") keeps the hashes of its last ten compactions in memory, as
// etcd does since 3.5.5. An older one scans its whole store for each hash. A version that cannot be read is taken for older.
func KeepsHashes(version string) bool {
	number, _, _ := strings.Cut(version, "-") // "3.6.0-rc.1"
	var v []int
	for part := range strings.SplitSeq(number, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return false
		}
		v = append(v, n)
	}
	return slices.Compare(v, []int{3, 5, 5}) >= 0
}
