package route

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"relaymux/mux/buf"
	"relaymux/socks"
)

func isBlocked(err error) bool {
	_, is := errors.AsType[*socks.BlockedError](err)
	return is
}

// direct connects from this machine. There is no round trip through a relay to save, so
// that the application hears of success only when there is one.
func (r *Router) direct(ctx context.Context, req *socks.Request) {
	target, err := r.dial(req.Watch(ctx), "tcp", req.Host, req.Port)
	if err != nil {
		req.Fail(err)
		return
	}
	app, early, err := req.Proceed()
	if err != nil {
		target.Close()
		return
	}
	r.began()
	defer r.ended()
	j := &joint{app: app, target: target}
	j.linger(buf.ByRST) // until both have ended well, and also if this process is killed
	if !r.enter(j) {
		j.abort()
		return
	}
	defer r.leave(j)
	j.run(early)
}

func (r *Router) enter(j *joint) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.joined[j] = struct{}{}
	return true
}

func (r *Router) leave(j *joint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.joined, j)
	if r.quiet != nil && len(r.joined) == 0 {
		close(r.quiet)
		r.quiet = nil
	}
}

// A joint is a direct TCP flow: two connections, which belong to it.
type joint struct {
	app, target net.Conn
	once        sync.Once
}

// run moves bytes until both directions have ended. Each ends alone, as TCP does it;
// what ends otherwise is reset on both sides, lest it look like a whole answer.
func (j *joint) run(early []byte) {
	var up sync.WaitGroup
	up.Go(func() {
		_, err := j.target.Write(early)
		j.move(j.target, j.app, err)
	})
	j.move(j.app, j.target, nil)
	up.Wait()
	j.once.Do(func() {
		j.linger(buf.ByFIN)
		j.close()
	})
}

// linger is buf.Linger for both.
func (j *joint) linger(how int) {
	for _, c := range []net.Conn{j.app, j.target} {
		buf.Linger(c, how)
	}
}

func (j *joint) close() {
	j.app.Close()
	j.target.Close()
}

// move moves what from brings to to, unless there is an error already. It owns a buffer
// only while there is something to move.
func (j *joint) move(to, from net.Conn, err error) {
	r := buf.NewReader(from, buf.Get, (*buf.Buf).Release)
	for err == nil {
		var b *buf.Buf
		b, err = r.Read()
		if b == nil {
			continue
		}
		if _, failed := to.Write(b.B); failed != nil {
			err = failed
		}
		b.Release()
	}
	if half, ok := to.(interface{ CloseWrite() error }); err == io.EOF && ok && half.CloseWrite() == nil {
		return
	}
	j.abort()
}

// abort ends both by RST.
func (j *joint) abort() {
	j.once.Do(j.close)
}
