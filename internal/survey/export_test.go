package survey

import (
	"fmt"
	"strings"
	"testing"
)

// LargeStore writes a store of Kubernetes-like keys with values of 320 bytes, in which every key was changed once.
func LargeStore(t testing.TB, keys int) string {
	value := []byte(object("v1", "Pod", meta(strings.Repeat("x", 290))))
	return store(t, 2*keys, func(i int) change {
		return change{fmt.Sprintf("/registry/pods/namespace-%02d/deployment-7c9d8f5b6-%08d", i%50, i%keys), value}
	})
}
