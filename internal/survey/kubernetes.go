package survey

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/drd-project/drd/internal/proof"
)

// registry is where API servers keep their objects, unless --etcd-prefix says otherwise.
var registry = []byte("/registry/")

// mustExist are objects that every API server creates at its start and creates again when they are deleted.
func mustExist() []string {
	return []string{"/registry/namespaces/default", "/registry/namespaces/kube-system", "/registry/services/specs/default/kubernetes"}
}

// census counts Kubernetes objects. The zero value is ready.
type census struct {
	resources, encodings tally
	objects, undecodable int64
	found                map[string]bool // which of mustExist
}

func (c *census) add(key, value []byte) {
	object, ok := bytes.CutPrefix(key, registry)
	if !ok {
		return
	}
	c.objects++
	c.look(key)
	// What printable leaves alone is its own name; what it changes is not met again as it stands.
	if resource := resourceOf(object); !c.resources.again(resource) {
		c.resources.add(printable(resource))
	}
	encoding := encodingOf(value)
	if encoding == nil {
		c.undecodable++
	} else if !c.encodings.again(encoding) {
		c.encodings.add(printable(encoding))
	}
}

// look notes whether the key is one that must exist.
func (c *census) look(key []byte) {
	if c.found == nil {
		c.found = make(map[string]bool)
		for _, name := range mustExist() {
			c.found[name] = false
		}
	}
	if _, ok := c.found[string(key)]; ok {
		c.found[string(key)] = true
	}
}

// result is nil where no object was seen.
func (c *census) result() *proof.Kubernetes {
	if c.objects == 0 {
		return nil
	}
	k := &proof.Kubernetes{Resources: c.resources.result(), Encodings: c.encodings.result(), Undecodable: c.undecodable}
	for _, name := range mustExist() {
		if !c.found[name] {
			k.Missing = append(k.Missing, name)
		}
	}
	return k
}

// resourceOf names the resource in the rest of a key below /registry/: "pods" of "pods/default/web". Custom resources, and what
// the aggregation and extension servers keep, lie one segment deeper, below their API group ("example.com/widgets/…"): a group
// has a dot and a resource never has. So do services ("services/specs/…", "services/endpoints/…").
func resourceOf(object []byte) []byte {
	first, rest, nested := bytes.Cut(object, []byte("/"))
	if !nested || !bytes.ContainsRune(first, '.') && string(first) != "services" {
		return first
	}
	second, _, _ := bytes.Cut(rest, []byte("/"))
	return object[:len(first)+1+len(second)]
}

var (
	protobufMagic  = []byte("k8s\x00")      // k8s.io/apimachinery, pkg/runtime/serializer/protobuf
	cborMagic      = []byte("\xd9\xd9\xf7") // the self-described CBOR tag, RFC 8949 §3.4.6
	encryptedMagic = []byte("k8s:enc:")     // k8s.io/apiserver, pkg/storage/value

	encodingProtobuf = []byte("protobuf")
	encodingJSON     = []byte("json")
	encodingCBOR     = []byte("cbor")
)

// encodingOf says how a value is written, nil when it is nothing that an API server writes. It does not say that the object is
// whole: an encrypted one cannot be looked into, and of JSON only both ends are looked at.
func encodingOf(value []byte) []byte {
	if bytes.HasPrefix(value, encryptedMagic) {
		return encryptionPrefix(value)
	}
	if message, ok := bytes.CutPrefix(value, protobufMagic); ok {
		if isUnknown(message) {
			return encodingProtobuf
		}
		return nil
	}
	if bytes.HasPrefix(value, cborMagic) {
		return encodingCBOR
	}
	if isJSONObject(value) {
		return encodingJSON
	}
	return nil
}

// maxEncryptionPrefix is where the search for the end of the prefix gives up, in bytes. Names of keys and of KMS plugins
// are a few dozen.
const maxEncryptionPrefix = 1024

// encryptionPrefix returns "k8s:enc:PROVIDER:VERSION:KEY" of a value that begins so and goes on with ":" and the ciphertext. A
// key's name has no colon.
func encryptionPrefix(value []byte) []byte {
	value = value[:min(len(value), maxEncryptionPrefix)]
	end := 0
	for range 5 {
		i := bytes.IndexByte(value[end:], ':')
		if i <= 0 {
			return nil
		}
		end += i + 1
	}
	prefix := value[:end-1]
	for _, b := range prefix {
		if b <= ' ' || b > '~' {
			return nil
		}
	}
	return prefix
}

// isUnknown checks the envelope of a protobuf object, runtime.Unknown: field 1 names the API version and kind (fields 1 and 2 of
// it), field 2 is the object, fields 3 and 4 its encoding and content type.
func isUnknown(message []byte) bool {
	var typeMeta, object, contentType []byte
	ok := eachField(message, func(num protowire.Number, content []byte) {
		switch num {
		case 1:
			typeMeta = content
		case 2:
			object = content
		case 4:
			contentType = content
		}
	})
	var version, kind []byte
	ok = ok && eachField(typeMeta, func(num protowire.Number, content []byte) {
		switch num {
		case 1:
			version = content
		case 2:
			kind = content
		}
	})
	if !ok || len(version) == 0 || len(kind) == 0 {
		return false
	}
	// An object in another encoding says so here.
	return len(contentType) > 0 || eachField(object, func(protowire.Number, []byte) {})
}

// eachField hands the length-delimited fields of a message to f and says whether the message is well-formed.
func eachField(message []byte, f func(num protowire.Number, content []byte)) bool {
	for len(message) > 0 {
		num, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		if typ == protowire.BytesType {
			var content []byte
			if content, n = protowire.ConsumeBytes(message); n >= 0 {
				f(num, content)
			}
		} else {
			n = protowire.ConsumeFieldValue(num, typ, message)
		}
		if n < 0 {
			return false
		}
		message = message[n:]
	}
	return true
}

// isJSONObject looks at both ends: '{' and a name or nothing, then '}' and at most white space.
func isJSONObject(value []byte) bool {
	const space = " \t\r\n"
	if len(value) == 0 || value[0] != '{' {
		return false
	}
	start := bytes.TrimLeft(value[1:], space)
	end := bytes.TrimRight(value[1:], space)
	return len(start) > 0 && (start[0] == '"' || start[0] == '}') && end[len(end)-1] == '}'
}
