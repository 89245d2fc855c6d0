package relaytest

import (
	"net/http"
	"time"
)

// A Fault is what a relay does to exchanges for a while.
type Fault struct {
	Name    string
	Set     func(k *Knobs)
	Outcome string // by which the program names what fails; "" if nothing need fail
}

// Faults are all that an emulated relay can do, but for what hooks do.
func Faults() []Fault {
	return []Fault{
		{"answers lost, 1 in 3", func(k *Knobs) { k.LoseAfter = 3 }, "broken"},
		{"every answer lost", func(k *Knobs) { k.LoseAfter = 1 }, "broken"},
		{"requests lost, 1 in 3", func(k *Knobs) { k.LoseBefore = 3 }, "broken"},
		{"every request lost", func(k *Knobs) { k.LoseBefore = 1 }, "broken"},
		{"executed twice, 1 in 2", func(k *Knobs) { k.Duplicate = 2 }, ""},
		{"overtaken, 1 in 2 by 5 s", func(k *Knobs) { k.Late, k.LateBy = 2, 5*time.Second }, ""},
		{"late by 40 s, 1 in 4", func(k *Knobs) { k.Late, k.LateBy = 4, 40*time.Second }, ""},
		{"cut to 100 bytes", func(k *Knobs) { k.Truncate = 100 }, ""},
		{"cut to 20 KB", func(k *Knobs) { k.MaxAnswer = 20_000 }, ""},
		{"HTML decoy", func(k *Knobs) { k.Decoy = true }, "decoy"},
		{"quota page", func(k *Knobs) { k.QuotaPage = true }, "quota"},
		{"429 with Retry-After", func(k *Knobs) { k.Status, k.RetryAfter = http.StatusTooManyRequests, "5" }, "retry_after"},
		{"503 with Retry-After", func(k *Knobs) { k.Status, k.RetryAfter = http.StatusServiceUnavailable, "5" }, "retry_after"},
		{"500", func(k *Knobs) { k.Status = http.StatusInternalServerError }, "server_error"},
		{"redirect loop", func(k *Knobs) { k.Status, k.Loop = http.StatusFound, true }, ""},
		{"413 over 20 KB", func(k *Knobs) { k.MaxBody = 20_000 }, ""},
		{"1 slot of 30", func(k *Knobs) { k.Slots = 1 }, ""},
		{"5 slots of 30", func(k *Knobs) { k.Slots = 5 }, ""},
		{"30 s latency", func(k *Knobs) { k.RTT = 30 * time.Second }, ""},
		{"cold start of 5 s", func(k *Knobs) { k.ColdStart, k.ColdAfter = 5*time.Second, time.Second }, ""},
		{"exchanges cut at 1 s", func(k *Knobs) { k.ExchangeLimit = time.Second }, ""},
		{"some of each", func(k *Knobs) {
			k.LoseBefore, k.LoseAfter, k.Duplicate, k.Late, k.LateBy = 10, 10, 10, 10, 10*time.Second
		}, ""},
	}
}
