package daemon

import (
	"context"
	"log/slog"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// What systemd is told of a daemon that it supervises (sd_notify(3)); without
// NOTIFY_SOCKET in the environment nobody is.

// tell sends a message. That it does not get through is told to the log, for systemd
// may end the daemon for its silence.
func tell(log *slog.Logger, message string) {
	if _, err := systemd.SdNotify(false, message); err != nil {
		log.Warn("systemd is not told how the daemon is", "err", err)
	}
}

func tellReady(log *slog.Logger, status string) {
	tell(log, systemd.SdNotifyReady+"\nSTATUS="+status)
}

// reloading tells that a config is being read again, and what it returns that this is
// over, whatever came of it.
func reloading(log *slog.Logger) (over func()) {
	tell(log, systemd.SdNotifyReloading+"\n"+systemd.SdNotifyMonotonicUsec())
	return func() { tell(log, systemd.SdNotifyReady) }
}

// supervise tells that the daemon is ready, and when ctx ends that it stops. Until
// stop is called, it is alive as often as systemd wants to hear it, if alive says so.
func supervise(ctx context.Context, log *slog.Logger, alive func(context.Context) error, status func() string) (stop func()) {
	tellReady(log, status())
	stopped := context.AfterFunc(ctx, func() { tell(log, systemd.SdNotifyStopping) })
	every, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog's time cannot be read", "err", err)
	}
	if every <= 0 {
		return func() { stopped() }
	}
	over, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(over, log, every/2, alive, func() { tell(log, systemd.SdNotifyWatchdog+"\nSTATUS="+status()) })
	}()
	return func() {
		stopped()
		cancel()
		<-done
	}
}

// watch calls pat once in every while, each time that alive has answered within it,
// until ctx ends. What does not answer is silent, for systemd to begin it anew.
func watch(ctx context.Context, log *slog.Logger, every time.Duration, alive func(context.Context) error, pat func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, every)
		err := alive(limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("the daemon hangs: the watchdog is not told that it is alive", "err", err)
		default:
			pat()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
