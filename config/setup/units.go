package setup

import "strings"

// confined is what holds without privileges too. A system call that is not let through
// fails, and does not end the daemon. No core is written: it would have the secrets in it.
const confined = `LimitCORE=0
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
`

// nodeUnit is the node's unit of systemd. It runs as a user of its own, who can read
// /etc/relaymux and nothing else of interest. A config with a mistake (exit code 2)
// is not tried again; a node that hangs is begun anew. A port below 1024 (low) takes a
// capability, which means nothing to the system's network from within a user namespace.
func nodeUnit(binary string, low bool) string {
	capability, users := "", "yes"
	if low {
		capability, users = "CAP_NET_BIND_SERVICE", "no"
	}
	return strings.NewReplacer("CONFINED", confined, "BINARY", binary, "CAPS", capability, "USERS", users).Replace(`[Unit]
Description=relaymux exit node
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
WatchdogSec=30
User=relaymux
Group=relaymux
ExecStart=BINARY node --config /etc/relaymux/node.toml
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=2
StateDirectory=relaymux
StateDirectoryMode=0700
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
PrivateUsers=USERS
ProtectProc=invisible
RemoveIPC=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
CONFINEDCapabilityBoundingSet=CAPS
AmbientCapabilities=CAPS

[Install]
WantedBy=multi-user.target
`)
}

// clientUnit is the proxy's unit, for the user's own systemd. It has what works
// without privileges there.
func clientUnit(binary string) string {
	return strings.NewReplacer("CONFINED", confined, "BINARY", binary).Replace(`[Unit]
Description=relaymux proxy

[Service]
Type=notify
WatchdogSec=30
ExecStart=BINARY run --config %E/relaymux/config.toml
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=2
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
CONFINED
[Install]
WantedBy=default.target
`)
}
