// Package seal turns plaintext into objects that only the holder of an identity can read, and says
// who made them.
//
// A node holds public keys only. Everything that leaves it is compressed, then encrypted with age to
// the recipients of the configuration (Format, Sealer), and described by a manifest that the node
// signs (Signer). Encryption hides; it does not prove where an object comes from, because anyone who
// knows a recipient can seal to it. The signature does: it is an OpenSSH signature in the namespace
// "drd", checked against an allowed_signers file (Trust).
//
// Both are standard formats, so an object can be opened and checked without this program:
// age -d | zstd -d, and ssh-keygen -Y verify.
//
// Two ways lead to the content of an object: an identity (LoadIdentities), which opens everything
// sealed for it, and the file key of this one object (FileKey). A node keeps the file keys of what it
// just wrote until its next boot (KeyRing): it can read back and prove a fresh backup, and cannot read
// an old one.
//
// The package knows nothing of etcd, of object stores or of the layout of a repository. It never logs,
// and no error or String method of it shows a secret.
package seal
