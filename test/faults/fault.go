package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Fault is what a step does to a request. It answers, or ends the connection.
type Fault func(x *Exchange)

// Exchange is one request and the way to its answer.
type Exchange struct {
	Request *Request
	w       http.ResponseWriter
	server  *Server
}

// Forward has the store carry the request out. A store that is down ends the connection.
func (x *Exchange) Forward() *http.Response { return x.server.pass(x) }

// Answer sends the store's answer on.
func (x *Exchange) Answer(answer *http.Response) {
	defer answer.Body.Close()
	for name, values := range answer.Header {
		x.w.Header()[name] = values
	}
	x.w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(x.w, answer.Body) // a client that leaves is its own affair
}

// take reads n bytes of the request's body.
func (x *Exchange) take(n int64) { _, _ = io.CopyN(io.Discard, x.Request.Body, n) }

// drain reads the rest of the body, as a server does that means to answer.
func (x *Exchange) drain() { _, _ = io.Copy(io.Discard, x.Request.Body) }

// reset ends the connection with a TCP reset.
func (x *Exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	inner, ok := conn.(interface{ NetConn() net.Conn })
	if !ok {
		return
	}
	if tcp, ok := inner.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // discard what is unsent, and say RST
		tcp.Close()
	}
}

// hang does nothing until the client leaves or the test ends.
func (x *Exchange) hang() {
	select {
	case <-x.Request.Context().Done():
	case <-x.server.done:
	}
	panic(http.ErrAbortHandler)
}

// Error answers with an S3 error and does not carry the request out. Headers are name and value in turn.
func Error(status int, code string, headers ...string) Fault {
	return func(x *Exchange) {
		x.drain()
		x.Answer(refusal(status, code, headers...))
	}
}

// ErrorAfter has the request carried out, and answers with an error all the same.
func ErrorAfter(status int, code string) Fault {
	return func(x *Exchange) {
		discard(x.Forward())
		x.Answer(refusal(status, code))
	}
}

func refusal(status int, code string, headers ...string) *http.Response {
	text := fmt.Sprintf("<Error><Code>%s</Code><Message>scripted</Message><RequestId>SCRIPT</RequestId></Error>", code)
	answer := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/xml"}}, Body: body([]byte(text))}
	for i := 0; i+1 < len(headers); i += 2 {
		answer.Header.Set(headers[i], headers[i+1])
	}
	return answer
}

func body(data []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(data)) }

func discard(answer *http.Response) {
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}

// Reset breaks the connection after n bytes of the request's body. The store hears nothing.
func Reset(n int64) Fault {
	return func(x *Exchange) {
		x.take(n)
		x.reset()
	}
}

// LoseAnswer has the request carried out, and breaks the connection.
func LoseAnswer() Fault {
	return func(x *Exchange) {
		discard(x.Forward())
		x.reset()
	}
}

// Stall takes n bytes of the request's body and no more, and says nothing.
func Stall(n int64) Fault {
	return func(x *Exchange) {
		x.take(n)
		x.hang()
	}
}

// StallAfter has the request carried out, and never answers.
func StallAfter() Fault {
	return func(x *Exchange) {
		discard(x.Forward())
		x.hang()
	}
}

// StallAnswer sends n bytes of the answer's body and no more.
func StallAnswer(n int64) Fault {
	return func(x *Exchange) {
		x.begin(x.Forward(), n)
		x.hang()
	}
}

// CutAnswer sends n bytes of the answer's body, and breaks the connection.
func CutAnswer(n int64) Fault {
	return func(x *Exchange) {
		x.begin(x.Forward(), n)
		x.reset()
	}
}

// begin sends the headers and n bytes of an answer.
func (x *Exchange) begin(answer *http.Response, n int64) {
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, n), answer.Body}
	x.Answer(answer)
	_ = http.NewResponseController(x.w).Flush()
}

// ShortAnswer cuts the answer's body to n bytes and says that this is all of it.
func ShortAnswer(n int) Fault {
	return Rewrite(func(_ *http.Response, body []byte) []byte { return body[:min(n, len(body))] })
}

// Corrupt inverts the lowest bit of byte n of the answer's body.
func Corrupt(n int) Fault {
	return Rewrite(func(_ *http.Response, body []byte) []byte {
		if n < len(body) {
			body[n] ^= 1
		}
		return body
	})
}

// Rewrite has the request carried out, and answers with what change makes of headers and body.
func Rewrite(change func(answer *http.Response, body []byte) []byte) Fault {
	return func(x *Exchange) {
		answer := x.Forward()
		data, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		data = change(answer, data)
		answer.Body = body(data)
		if x.Request.Method != http.MethodHead {
			answer.Header.Set("Content-Length", strconv.Itoa(len(data)))
		}
		x.Answer(answer)
	}
}

// Say answers 200 with this body, whatever was asked; the request is not carried out.
func Say(text string) Fault {
	return func(x *Exchange) {
		x.drain()
		x.Answer(&http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/xml"}}, Body: body([]byte(text))})
	}
}

// Skewed refuses the request for its date, and gives the time of a clock that is so much ahead.
func Skewed(ahead time.Duration) Fault {
	return func(x *Exchange) {
		Error(http.StatusForbidden, "RequestTimeTooSkewed", "Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))(x)
	}
}

// First does something before the request goes its way: another writer's work, a change of the world.
func First(do func(), then Fault) Fault {
	return func(x *Exchange) {
		do()
		then(x)
	}
}
