package gso

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"relaymux/mux/buf"
	"relaymux/mux/stats"
)

// FuzzArrival: whatever control data, flags and address come with a message, it is a
// train that has all its bytes in datagrams of one size but for the last, or is dropped
// and counted; and what is kept of the control data is a part of it.
func FuzzArrival(f *testing.F) {
	cmsg := func(level, kind int32, data ...byte) []byte {
		p := make([]byte, unix.CmsgSpace(len(data)))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&p[0]))
		h.Level, h.Type = level, kind
		h.SetLen(unix.CmsgLen(len(data)))
		copy(p[unix.CmsgLen(0):], data)
		return p
	}
	gro := cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, 0xe8, 3, 0, 0)
	ovfl := cmsg(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 7, 0, 0, 0)
	tos := cmsg(unix.IPPROTO_IP, unix.IP_TOS, 1)
	f.Add(append(append(tos, gro...), ovfl...), uint16(2500), uint16(0), []byte{unix.AF_INET, 0, 0, 53, 1, 1, 1, 1}, true)
	f.Add(gro[:len(gro)-8], uint16(65535), uint16(unix.MSG_CTRUNC), []byte{unix.AF_INET6, 0}, true)
	f.Add(cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, 0xff, 0xff, 0xff, 0xff), uint16(1), uint16(unix.MSG_TRUNC), []byte{}, false)
	f.Add(cmsg(unix.IPPROTO_UDP, unix.UDP_GRO, 0xff, 0xff, 0xff, 0xff), uint16(1000), uint16(0), []byte{}, true)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, uint16(0), uint16(0), []byte{99}, false)
	f.Fuzz(func(t *testing.T, control []byte, n, flags uint16, name []byte, gro bool) {
		b := batches.Get().(*batch)
		defer batches.Put(b)
		b.bufs[0] = buf.Get(buf.Max)
		b.point(0, b.bufs[0].B[:buf.Max], unix.SizeofSockaddrInet6, oobBytes)
		control = control[:min(len(control), oobBytes)]
		copy(b.oob(0), control)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&b.names[0])), unix.SizeofSockaddrInet6), name)
		m := &b.msgs[0]
		m.Len, m.Hdr.Flags = uint32(n), int32(flags)
		m.Hdr.SetControllen(len(control))

		if kept := b.keepIP(0, nil); len(kept) > len(control)+unix.SizeofCmsghdr {
			t.Errorf("%d bytes of %d are kept", len(kept), len(control))
		}
		st := new(stats.UDP)
		c := &udpConn{gro: gro, o: Options{Stats: st}}
		c.r.ts = make([]Train, 1)
		c.deliver(b, 0)
		b.bufs[0] = nil
		b.clear(1)
		if c.r.n == 0 {
			if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0 {
				t.Error("a whole message is dropped")
			}
			return
		}
		tr := &c.r.ts[0]
		defer tr.Buf.Release()
		sum := 0
		for k := range tr.Count() {
			d := len(tr.At(k))
			if sum += d; tr.Size > 0 && (d == 0 || d > tr.Size || d < tr.Size && k < tr.Count()-1) {
				t.Fatalf("datagram %d of %d has %d bytes of %d", k, tr.Count(), d, tr.Size)
			}
		}
		if sum != int(n) || tr.Size < 0 {
			t.Errorf("%d bytes of %d, in datagrams of %d", sum, n, tr.Size)
		}
	})
}
