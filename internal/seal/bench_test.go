package seal_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/seal"
)

// etcdLike returns n bytes that compress about as an etcd database does (4 to 5 times): objects of one
// shape with random names, identifiers and numbers in them.
func etcdLike(n int) []byte {
	random := rand.New(rand.NewChaCha8([32]byte{1}))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "/registry/pods/ns-%03d/web-%08x\x00k8s\x00\n\x02v1\x12\x03Pod", random.IntN(200), random.Uint32())
		fmt.Fprintf(&b, `{"metadata":{"name":"web-%08x","namespace":"ns-%03d","uid":"%016x-%016x","resourceVersion":"%d","labels":{"app":"web","tier":"front"}},`,
			random.Uint32(), random.IntN(200), random.Uint64(), random.Uint64(), random.IntN(1e7))
		fmt.Fprintf(&b, `"spec":{"nodeName":"node-%02d","containers":[{"name":"main","image":"registry.example/web:1.%d","resources":{"limits":{"cpu":"500m","memory":"256Mi"}}}]},"status":{"phase":"Running","podIP":"10.42.%d.%d","token":"%016x%016x%016x%016x"}}`,
			random.IntN(50), random.IntN(30), random.IntN(256), random.IntN(256), random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())
	}
	return b.Bytes()[:n]
}

const benchSize = 64 << 20

func BenchmarkSeal(b *testing.B) {
	plain := etcdLike(benchSize)
	for _, kind := range []string{"x25519", "hybrid"} {
		b.Run(kind, func(b *testing.B) {
			_, recipients := newIdentity(b, kind == "hybrid")
			b.SetBytes(benchSize)
			var size int
			for b.Loop() {
				var sealed counter
				sealTo(b, &sealed, recipients, plain)
				size = int(sealed)
			}
			b.ReportMetric(float64(benchSize)/float64(size), "ratio")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	id, recipients := newIdentity(b, false)
	var sealed bytes.Buffer
	sealTo(b, &sealed, recipients, etcdLike(benchSize))
	b.SetBytes(benchSize)
	for b.Loop() {
		r, err := seal.Default().Open(bytes.NewReader(sealed.Bytes()), []age.Identity{id})
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != benchSize {
			b.Fatalf("read %d bytes: %v", n, err)
		}
		r.Close()
	}
}

// counter is a writer that only counts.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// BenchmarkSmall seals and opens what an archive segment of a quiet cluster holds. Its cost is in
// setting up, not in the data.
func BenchmarkSmall(b *testing.B) {
	plain := etcdLike(2 << 10)
	id, recipients := newIdentity(b, true)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sealTo(b, io.Discard, recipients, plain)
		}
	})
	object := sealed(b, recipients, plain)
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if got, err := open(object, id); err != nil || len(got) != len(plain) {
				b.Fatalf("%d bytes, %v", len(got), err)
			}
		}
	})
}
