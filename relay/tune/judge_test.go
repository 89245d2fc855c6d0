package tune

import (
	"testing"
	"time"
)

// trials makes samples of one part: seconds, exchanges, seconds, exchanges, ...
func trials(numbers ...float64) (list []sample) {
	for i := 0; i < len(numbers); i += 2 {
		list = append(list, sample{took: []time.Duration{time.Duration(numbers[i] * float64(time.Second))}, exchanges: int(numbers[i+1])})
	}
	return list
}

// TestJudge has both sides of each limit.
func TestJudge(t *testing.T) {
	base := trials(10, 100, 10, 100, 10, 100)
	for name, c := range map[string]struct {
		with, without []sample
		better, worse bool
	}{
		"the same":                     {base, base, false, false},
		"a tenth faster":               {trials(9, 100, 9, 100, 9, 100), base, true, false},
		"less than a tenth":            {trials(9.2, 100, 9.2, 100, 9.2, 100), base, false, false},
		"faster, one pair not":         {trials(8, 100, 8, 100, 10.1, 100), base, false, false},
		"faster, at the square":        {trials(5, 399, 5, 399, 5, 399), base, true, false},
		"faster, at more":              {trials(5, 401, 5, 401, 5, 401), base, false, false},
		"one pair":                     {trials(1, 10), base, false, false},
		"two pairs":                    {trials(1, 10, 1, 10), base, true, false},
		"none":                         {nil, base, false, false},
		"a fifth fewer":                {trials(10, 80, 10, 80, 10, 80), base, true, false},
		"less than a fifth fewer":      {trials(10, 81, 10, 81, 10, 81), base, false, false},
		"fewer, a little slower":       {trials(10.4, 50, 10.4, 50, 10.4, 50), base, true, false},
		"fewer, slower":                {trials(10.5, 50, 10.5, 50, 10.5, 50), base, false, false},
		"fewer, one pair not":          {trials(10, 50, 10, 50, 10, 100), base, false, false},
		"two fewer":                    {trials(1, 2, 1, 2), trials(1, 4, 1, 4), true, false},
		"one fewer, which is chance":   {trials(1, 3, 1, 3), trials(1, 4, 1, 4), false, false},
		"a tenth slower":               {trials(11.2, 100, 11.2, 100, 11.2, 100), base, false, true},
		"less than a tenth slower":     {trials(10.9, 100, 10.9, 100, 10.9, 100), base, false, false},
		"a tenth slower, one pair not": {trials(12, 100, 12, 100, 9, 100), base, false, false},
	} {
		if v := judge(c.with, c.without); v.Better != c.better || v.Worse != c.worse {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestJudge_Parts: what one of two gains is not worth that the other takes much longer.
func TestJudge_Parts(t *testing.T) {
	two := func(up, down float64) (list []sample) {
		for range 3 {
			list = append(list, sample{took: []time.Duration{time.Duration(up * 1e9), time.Duration(down * 1e9)}, exchanges: 10})
		}
		return list
	}
	for _, c := range []struct {
		down   float64
		better bool
	}{{1, true}, {1.24, true}, {1.3, false}} {
		if v := judge(two(0.25, c.down), two(1, 1)); v.Better != c.better {
			t.Errorf("down takes %v times as long: %+v", c.down, v)
		}
	}
}
