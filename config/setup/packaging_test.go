package setup

import (
	"os/exec"
	"strings"
	"testing"
)

// procd stands for OpenWrt: it prints what it is told, and nothing is done to the system.
const procd = `
group_exists() { false; }
user_exists() { false; }
group_add_next() { echo 40000; }
user_add() { echo "user_add $*"; }
mkdir() { echo "mkdir $*"; }
chown() { echo "chown $*"; }
chmod() { echo "chmod $*"; }
procd_open_instance() { echo open; }
procd_set_param() { echo "$*"; }
procd_close_instance() { echo close; }
. ./packaging/openwrt.init
start_service
`

// TestOpenWrt: the init script is one, and tells procd what it should.
func TestOpenWrt(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command(sh, "-n", "packaging/openwrt.init").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(sh, "-eu", "-c", procd).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"user_add relaymux  40000", "mkdir -p -m 700 /etc/relaymux/state", "chmod 600 /etc/relaymux/config.toml",
		"command /usr/bin/relaymux run --config /etc/relaymux/config.toml", "user relaymux", "no_new_privs 1",
		"limits nofile=16384 16384", "file /etc/relaymux/config.toml", "reload_signal HUP", "respawn 3600 5 5", "close",
	} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("procd is not told %q:\n%s", want, out)
		}
	}
	if _, limit, ok := strings.Cut(string(out), "GOMEMLIMIT="); ok && !strings.Contains(strings.SplitN(limit, " ", 2)[0], "KiB") {
		t.Errorf("GOMEMLIMIT=%.40s", limit)
	}
}
