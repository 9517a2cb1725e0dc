// Package kube turns what an API server has stored in etcd back into manifests that can be applied.
//
// What flows in is a key and a value of an etcd store: an object in protobuf, as the built-in resources are kept, in JSON, as
// custom ones are, or in CBOR. What flows out is the object (Decoder.Decode), without the fields that belong to the cluster and
// not to whoever wrote it (Object.Clean), as YAML, with a rank that says what must be there before it (Object.Rank).
//
// It needs no cluster: the shapes of the built-in objects are those of k8s.io/api. A value that the API server has encrypted
// is recognized and left alone: its key is not in etcd. Values are foreign input: what is no object is an error, never a panic.
package kube
