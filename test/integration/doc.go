// Package integration tests drd as its users run it: the built program, a configuration file, real etcd members and real
// S3 servers. Nothing here looks into drd; what counts is what it prints, its exit code, what is in the targets, and what
// an etcd that is started on the result says of its data.
//
// Every run of drd is watched for secrets: what stands in key files, password files and in the values of
// etcd must be in no output, in no file that drd leaves on the node and in no object of a target.
package integration
