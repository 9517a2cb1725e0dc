// Package faults is an S3 server that misbehaves as a script says, for tests: what real stores and the networks before
// them do now and then, on demand and at one certain request.
//
// A Server passes every request on to a real store, or to a handler that plays one, unless a step of its script wants
// it. A step names the requests it is for, how many it lets pass and how many it spoils, and what it does to them:
//
//	server := faults.Before(t, minio)
//	server.Script(
//		faults.Step{On: faults.Part, Skip: 2, Do: faults.Reset(100_000)},  // the third part breaks off
//		faults.Step{On: faults.Complete, Do: faults.LoseAnswer()},        // joined, and nobody hears of it
//	)
//
// The server also counts what it was sent, so that a test can tell how much a client repeats.
package faults
