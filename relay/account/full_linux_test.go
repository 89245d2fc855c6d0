package account

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestHostile83_DiskFull: counts go on in memory, what the file had stays whole, and it
// is written again when there is room.
func TestHostile83_DiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, _ := open(dir)
		a := l.Account("me", 30, 20000)
		spend(a, time.Now(), 7)
		time.Sleep(10 * time.Second)
		before := killed(t, dir)
		full := filepath.Join(dir, "quota.new")
		if err := os.Symlink("/dev/full", full); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			a.Spend(time.Now())
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if err := l.Kept(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("it says %v", err)
		}
		if got := killed(t, dir); got != before || a.Used(time.Now()) != 307 {
			t.Errorf("%d in the file, which had %d; %d in memory", got, before, a.Used(time.Now()))
		}
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryEvery + time.Second)
		synctest.Wait()
		if got := killed(t, dir); got < 307 || l.Kept() != nil {
			t.Errorf("%d in the file, %v", got, l.Kept())
		}
		l.Close()
	})
}
