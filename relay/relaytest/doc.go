// Package relaytest is what the program is tested with: a network in memory,
// TCP and UDP (Network), an emulator of a relay with its faults (Relay), servers
// to send applications to (Origin, Echo, EchoPacket, ...), and the whole program
// in one process (Stack), with an application's side of it (Stack.Connect,
// Association).
//
// All of it waits on channels, timers and condition variables of its own, so
// that inside a testing/synctest bubble an hour passes at once:
//
//	synctest.Test(t, func(t *testing.T) {
//		var n relaytest.Network
//		ln, _ := n.Listen("relay.test:80")
//		r := relaytest.NewRelay(relaytest.RelayConfig{ ... Transport: n.Transport()})
//		r.Set(func(k *relaytest.Knobs) { k.RTT = 1500 * time.Millisecond })
//		go relaytest.ServeRelay(ctx, ln, r)
//		...
//	})
package relaytest
