package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"relaymux/relay/relaytest/proc"
)

// A report is what a run came to. It is also the file of a baseline.
type report struct {
	Relaymux string  `json:"relaymux"`
	Date     string  `json:"date"`
	Go       string  `json:"go"`
	Kernel   string  `json:"kernel"`
	CPUs     int     `json:"cpus"`
	Rounds   int     `json:"rounds"`
	SizeMB   int64   `json:"size_mb"`
	Seconds  float64 `json:"seconds"` // of a row, at least

	Figures map[string]map[string]float64 `json:"figures"` // medians, by figure and way
}

func (b *bench) report() *report {
	r := &report{
		Relaymux: b.programs.version, Date: time.Now().Format(time.DateOnly),
		Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, Kernel: proc.Kernel(), CPUs: runtime.NumCPU(),
		Rounds: b.rounds, SizeMB: b.size / 1e6, Seconds: b.time.Seconds(), Figures: make(map[string]map[string]float64),
	}
	for figure, byWay := range b.samples {
		r.Figures[figure] = make(map[string]float64)
		for way, values := range byWay {
			r.Figures[figure][way] = median(values)
		}
	}
	return r
}

func (r *report) head() string {
	version, _, _ := strings.Cut(strings.TrimPrefix(r.Relaymux, "relaymux "), " ")
	return fmt.Sprintf("relaymux %s of %s, %s, kernel %s, %d CPUs; medians of %d rounds, rows of %g s, bulk of %d MB",
		version, r.Date, r.Go, r.Kernel, r.CPUs, r.Rounds, r.Seconds, r.SizeMB)
}

// ratio is what a figure is to that of plain loopback in the same run; false if one of
// them is not there.
func (r *report) ratio(f figure, way string) (float64, bool) {
	value, ok := r.Figures[f.name][way]
	plain := r.Figures[f.name][loopback]
	if !ok || plain <= 0 {
		return 0, false
	}
	return value / plain, true
}

// median is that of at least one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

func (r *report) save(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func loadReport(path string) (*report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
