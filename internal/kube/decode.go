package kube

import (
	"bytes"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/json"
)

var (
	// ErrEncrypted is wrapped for a value that the API server has encrypted.
	ErrEncrypted = errors.New("the API server has encrypted it")
	// ErrUndecodable is wrapped for a value that is no object of a known kind.
	ErrUndecodable = errors.New("it is no object of a known kind")
)

var (
	protobufMagic  = []byte("k8s\x00")      // k8s.io/apimachinery, pkg/runtime/serializer/protobuf
	cborMagic      = []byte("\xd9\xd9\xf7") // the self-described CBOR tag, RFC 8949 §3.4.6
	encryptedMagic = []byte("k8s:enc:")     // k8s.io/apiserver, pkg/storage/value
)

// Decoder decodes stored values. It is safe for concurrent use.
type Decoder struct {
	scheme   *runtime.Scheme
	protobuf *protobuf.Serializer
}

// NewDecoder takes some milliseconds: it gathers the shapes of all built-in objects.
func NewDecoder() (*Decoder, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, fmt.Errorf("gather the kinds of Kubernetes: %w", err)
	}
	return &Decoder{scheme, protobuf.NewSerializer(scheme, scheme)}, nil
}

// Decode reads one stored value. Errors wrap ErrEncrypted or ErrUndecodable, and never hold any of the value.
func (d *Decoder) Decode(value []byte) (o Object, err error) {
	defer func() { // of a decoder that trusts its input too much
		if r := recover(); r != nil {
			o, err = nil, fmt.Errorf("%w: the decoder gave up on it", ErrUndecodable)
		}
	}()
	switch {
	case bytes.HasPrefix(value, encryptedMagic):
		return nil, ErrEncrypted
	case bytes.HasPrefix(value, protobufMagic):
		o, err = d.decodeProtobuf(value)
	case bytes.HasPrefix(value, cborMagic):
		if direct.Unmarshal(value, &o) != nil {
			err = fmt.Errorf("%w: malformed CBOR", ErrUndecodable)
		}
	case bytes.HasPrefix(bytes.TrimSpace(value), []byte("{")):
		fields := map[string]any{}
		if json.Unmarshal(value, &fields) != nil { // keeps whole numbers whole
			err = fmt.Errorf("%w: malformed JSON", ErrUndecodable)
		}
		o = fields
	default:
		err = fmt.Errorf("%w: it is neither protobuf nor JSON nor CBOR", ErrUndecodable)
	}
	if err == nil && (o.Kind() == "" || o.APIVersion() == "" || o.Name() == "") {
		err = fmt.Errorf("%w: it has no kind, no API version or no name", ErrUndecodable)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (d *Decoder) decodeProtobuf(value []byte) (Object, error) {
	typed, kind, err := d.protobuf.Decode(value, nil, nil)
	switch {
	case err != nil && runtime.IsNotRegisteredError(err) && kind != nil:
		return nil, fmt.Errorf("%w: this drd does not know kind %.100q of %.100q", ErrUndecodable, kind.Kind, kind.GroupVersion().String())
	case err != nil:
		return nil, fmt.Errorf("%w: malformed protobuf", ErrUndecodable)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be written as JSON", ErrUndecodable)
	}
	o := Object(fields)
	o["apiVersion"], o["kind"] = kind.GroupVersion().String(), kind.Kind
	return o, nil
}
