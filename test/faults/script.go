package faults

import (
	"net/http"
	"strings"
)

// Match tells whether a request is meant.
type Match func(r *http.Request) bool

// Any matches every request.
func Any(*http.Request) bool { return true }

// Put matches the write of a whole object.
func Put(r *http.Request) bool { return r.Method == http.MethodPut && !has(r, "partNumber") }

// Part matches the write of a part.
func Part(r *http.Request) bool { return r.Method == http.MethodPut && has(r, "partNumber") }

// Start matches the start of an upload in parts.
func Start(r *http.Request) bool { return r.Method == http.MethodPost && has(r, "uploads") }

// Complete matches the request to join the parts.
func Complete(r *http.Request) bool { return r.Method == http.MethodPost && has(r, "uploadId") }

// Abort matches the end of an upload in vain.
func Abort(r *http.Request) bool { return r.Method == http.MethodDelete && has(r, "uploadId") }

// Delete matches the removal of an object.
func Delete(r *http.Request) bool { return r.Method == http.MethodDelete && !has(r, "uploadId") }

// Head matches the question for an object's properties.
func Head(r *http.Request) bool { return r.Method == http.MethodHead }

// Get matches the read of an object.
func Get(r *http.Request) bool { return r.Method == http.MethodGet && onlyObject(r) }

// List matches a page of the listing.
func List(r *http.Request) bool { return r.Method == http.MethodGet && has(r, "list-type") }

// Uploads matches the listing of unfinished uploads.
func Uploads(r *http.Request) bool { return r.Method == http.MethodGet && has(r, "uploads") }

// Parts matches the listing of an upload's parts.
func Parts(r *http.Request) bool { return r.Method == http.MethodGet && has(r, "uploadId") }

// Versions matches a page of the listing of versions.
func Versions(r *http.Request) bool { return r.Method == http.MethodGet && has(r, "versions") }

func has(r *http.Request, option string) bool { return r.URL.Query().Has(option) }

// onlyObject tells that a GET asks for content and not for a listing or a property.
func onlyObject(r *http.Request) bool {
	for option := range r.URL.Query() {
		if option != "x-id" && option != "versionId" && !strings.HasPrefix(option, "response-") {
			return false
		}
	}
	return true
}

// Step is one line of a script.
type Step struct {
	On    Match // nil: any request
	Skip  int   // how many such requests pass first
	Times int   // how many are spoiled then; 0 is one, Always all
	Do    Fault
}

// Always is a Step's Times without an end.
const Always = -1

// Script replaces the script. Each request is for the first step that matches and is not used up; one that a step lets pass for
// its Skip is not offered to the steps behind it. Without arguments everything passes.
func (s *Server) Script(steps ...Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = nil
	for _, step := range steps {
		if step.Times == 0 {
			step.Times = 1
		}
		if step.On == nil {
			step.On = Any
		}
		s.steps = append(s.steps, step)
	}
}

// Left is how many requests the script still wants to spoil; steps with Always count nothing. A test that expects a
// fault to have happened checks that it is 0.
func (s *Server) Left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := 0
	for _, step := range s.steps {
		left += max(0, step.Times)
	}
	return left
}

// take notes a request and returns the fault for it, nil for none.
func (s *Server) take(r *Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	for i := range s.steps {
		step := &s.steps[i]
		if step.Times == 0 || !step.On(r.Request) {
			continue
		}
		if step.Skip > 0 {
			step.Skip--
			return nil
		}
		if step.Times > 0 {
			step.Times--
		}
		return step.Do
	}
	return nil
}
