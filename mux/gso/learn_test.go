package gso

import (
	"net/netip"
	"testing"
)

func TestKernelOf(t *testing.T) {
	for release, want := range map[string]kernel{
		"4.18.0-553.el8":             {false, 64, false},
		"4.19.325":                   {false, 64, false},
		"5.0.0":                      {true, 64, false},
		"5.15.0-101-generic":         {true, 64, false},
		"6.8.12-1-pve":               {true, 64, false},
		"6.9.0":                      {true, 128, false},
		"6.9-rc1":                    {true, 128, false},
		"6.18.44":                    {true, 128, false},
		"6.100.1":                    {true, 128, false},
		"7.0.0":                      {true, 128, true},
		"7.0.12-6-pve":               {true, 128, true},
		"7.1.4":                      {true, 128, true},
		"7.1.5":                      {true, 128, false},
		"7.2.0-rc1":                  {true, 128, false},
		"10.1.0":                     {true, 128, false},
		"":                           {false, 64, false},
		"Linux":                      {false, 64, false},
		"99999999999999999999999.9.": {true, 128, false},
	} {
		if got := kernelOf(release); got != want {
			t.Errorf("%q: %+v, want %+v", release, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	var r refusals
	peer := func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i)) }
	for i := range enough {
		if r.off(peer(0)) {
			t.Fatalf("off after %d refusals", i)
		}
		r.strike(peer(0))
	}
	if !r.off(peer(0)) || r.off(peer(1)) {
		t.Fatal("off: one peer, after enough refusals")
	}
	for range 10 { // never in a row
		for range enough - 1 {
			r.strike(peer(1))
		}
		r.taken(peer(1))
	}
	if r.off(peer(1)) {
		t.Fatal("refusals add up over trains that went out")
	}
	for i := range 10 * maxRefusals {
		r.strike(peer(2 + i))
	}
	if len(r.list) != maxRefusals || r.off(peer(0)) {
		t.Fatalf("%d are remembered", len(r.list))
	}
}
