package config

// Config is everything that users can set. Load has completed it: every
// deployment has a name, an account that exists and the key that its wire
// needs, secrets are read from their files, and the paths in it are usable from
// the working directory.
type Config struct {
	Proxy       Proxy        `toml:"proxy"`
	Admin       Admin        `toml:"admin"`
	Limits      Limits       `toml:"limits"`
	State       State        `toml:"state"`
	Batch       Batch        `toml:"batch"`
	Link        Link         `toml:"link"`
	UDP         UDP          `toml:"udp"`
	Route       Route        `toml:"route"`
	DNS         DNS          `toml:"dns"`
	Deployments []Deployment `toml:"deployment"`
	Accounts    []Account    `toml:"account"`
	Node        ExitNode     `toml:"node"`

	// Embedded: `run` was given no file. Node then describes a node on
	// loopback with a certificate of its own and one client, and Deployments
	// holds one entry with the same key and secret, whose URL and PinSHA256 are
	// for the caller to fill in once that node listens.
	Embedded bool `toml:"-"`
}

// When the proxy answers an application's connect.
const (
	Optimistic = "optimistic" // at once; a failure later is a reset
	Confirmed  = "confirmed"  // once the node has connected, or failed to
)

// Proxy is the local listener for SOCKS5 and HTTP.
type Proxy struct {
	Listen  []string `toml:"listen" default:"127.0.0.1:1080" flag:"proxy" doc:"addresses of the SOCKS5 and HTTP proxy, one or a list; 0.0.0.0 is all of IPv4"`
	Users   []User   `toml:"users"` // empty: no password is asked for, and only loopback may be listened on
	Connect string   `toml:"connect" default:"optimistic" oneof:"optimistic|confirmed" doc:"answer an application at once, or once the node has connected"`
}

// User may use the proxy. Both strings have 1 to 255 bytes (RFC 1929,
// section 2); the name has no colon (RFC 7617, section 2).
type User struct {
	Name     string `toml:"name" doc:"user name, 1 to 255 bytes"`
	Password Secret `toml:"password" doc:"password, 1 to 255 bytes, and at least 8 beyond loopback"`
}

// Admin is the status page and its API.
type Admin struct {
	Listen string `toml:"listen" default:"127.0.0.1:1081" flag:"admin" doc:"address of the admin page; empty turns it off"`
	Token  Secret `toml:"token" doc:"what the admin page asks for, at least 16 characters; needed beyond loopback"` // empty: none is asked for
	Socket string `toml:"socket" file:"" doc:"path of a Unix socket for the same, which asks for no token; default relaymux.sock in $XDG_RUNTIME_DIR"`
}

// Limits bounds what the proxy uses.
type Limits struct {
	Memory      Size `toml:"memory" default:"256MiB" min:"16MiB" doc:"bytes of buffers"`
	Connections int  `toml:"connections" default:"10000" min:"1" max:"1000000" doc:"open connections of applications"`
}

// State is where things learned are kept.
type State struct {
	Dir string `toml:"dir" file:"" doc:"directory of the quota ledger, the node's id and its ACME certificate; default $STATE_DIRECTORY, else relaymux in the user's state directory"`
}

// Batch shapes the exchanges. With less than two ops no poll could go along with an upload
// that takes every slot.
type Batch struct {
	MaxOps       int      `toml:"max_ops" default:"50" min:"2" max:"500" flag:"batch-max-ops" doc:"ops in one batch"`
	MaxBytes     Size     `toml:"max_bytes" default:"4MiB" min:"64KiB" max:"16MiB" flag:"batch-max-bytes" doc:"encoded bytes of one batch"`
	CoalesceStep Duration `toml:"coalesce_step" default:"10ms" min:"0s" max:"1s" flag:"coalesce-step" doc:"wait for more after each op; 0s does not wait"`
	CoalesceMax  Duration `toml:"coalesce_max" default:"1s" min:"0s" max:"10s" flag:"coalesce-max" doc:"longest wait of a batch in all, at least coalesce_step"`
}

// Link is the native protocol between the proxy and the node.
type Link struct {
	Secret       Secret   `toml:"secret" doc:"secret that the node knows by a [[node.client]], at least 32 characters; seals the traffic from relays"` // empty: no link
	SecretFile   string   `toml:"secret_file" file:"" doc:"file that holds the secret, instead of secret"`
	HedgePercent int      `toml:"hedge_percent" default:"2" min:"0" max:"100" doc:"exchanges in a hundred that may be sent twice; 0 sends none twice"`
	Grace        Duration `toml:"grace" default:"120s" min:"1s" max:"1h" doc:"how long connections outlive a dead relay"`
}

// The values of gso, gro and block_quic.
const (
	Auto = "auto"
	On   = "on"
	Off  = "off"
)

// UDP tunes datagrams, at the proxy or at the node.
type UDP struct {
	GSO       string   `toml:"gso" default:"auto" oneof:"auto|off" doc:"let the system cut trains of datagrams when sending; off if a network driver garbles them"`
	GRO       string   `toml:"gro" default:"auto" oneof:"auto|off" doc:"take in trains of datagrams; off likewise"`
	Stale     Duration `toml:"stale" default:"3s" min:"0s" max:"60s" doc:"age at which a waiting datagram is dropped; 0s keeps all"`
	BlockQUIC string   `toml:"block_quic" default:"auto" oneof:"auto|on|off" doc:"drop UDP to port 443, so that browsers use TCP, which a relay carries better; auto: at the proxy yes, at a node only for udpgw"`
	BlockSTUN bool     `toml:"block_stun" default:"false" doc:"drop STUN, by which calls learn the address of the node"`
}

// Route says what does not go through the tunnel. An entry is what a rule of
// Egress is.
type Route struct {
	Direct []string `toml:"direct" doc:"destinations connected to from this machine: names with those below them, CIDRs, ports, host:port"`
	Block  []string `toml:"block" doc:"destinations refused, in spite of direct"`
	Tunnel []string `toml:"tunnel" doc:"destinations tunnelled in spite of direct and block"`

	// At is where each list is written, as "file:12: route.direct", by its name.
	At map[string]string `toml:"-"`
}

// DNS is a listener for the queries of programs that look names up themselves.
type DNS struct {
	Listen string `toml:"listen" doc:"address at which DNS queries are answered through the tunnel, by UDP and TCP, such as 127.0.0.1:5300; empty: none"`
	Server string `toml:"server" default:"1.1.1.1:53" doc:"host:port of the DNS server that the node asks for them, by TCP"`
	LAN    bool   `toml:"lan" default:"false" doc:"let listen be an address that others can reach; only private addresses are answered"`
}

// Deployment is one relay.
type Deployment struct {
	Name               string   `toml:"name" doc:"name in logs and counters; default the url's host, or d1, d2, ..."`
	URL                string   `toml:"url" doc:"address of the relay: .../macros/s/<id>/exec is a script, any other a prefix"`
	Key                Secret   `toml:"key" doc:"key that the relay asks for; a script and wire json need one"`
	KeyFile            string   `toml:"key_file" file:"" doc:"file that holds the key, instead of key"`
	Account            string   `toml:"account" doc:"account whose slots it uses; default one of its own"`
	ConnectTo          string   `toml:"connect_to" doc:"host:port to connect to instead of the url's"`       // empty: the url's
	ServerName         string   `toml:"server_name" doc:"name in the TLS handshake instead of the url's"`    // empty: the url's
	CAFile             string   `toml:"ca_file" file:"" doc:"PEM file of the CAs to trust"`                  // empty: the system's
	PinSHA256          Pin      `toml:"pin_sha256" doc:"SHA-256 of the certificate to trust, hex or base64"` // nil: any that verifies
	InsecureSkipVerify bool     `toml:"insecure_skip_verify" default:"false" doc:"do not check the relay's certificate"`
	ExchangeLimit      Duration `toml:"exchange_limit" default:"30s" min:"5s" max:"600s" doc:"longest time of one exchange"`
	Wire               string   `toml:"wire" default:"auto" oneof:"auto|link|json" doc:"protocol towards the node; auto is link if [link] has a secret, else json, and never changes by itself"`
	HTTP               string   `toml:"http" default:"auto" oneof:"auto|1.1|2|3" doc:"HTTP version towards the relay; auto: 3, over UDP, while that gets through, else 2 or 1.1 over TCP; for scripts 1.1"`
}

// The values of wire.
const (
	WireLink = "link"
	WireJSON = "json"
)

// Account is what deployments share: slots, and a quota. DailyQuota is 0 where
// there is none, which is the default of an account without a script: only of
// scripts it is known.
type Account struct {
	Name       string `toml:"name" doc:"name that deployments refer to"`
	Slots      int    `toml:"slots" default:"30" min:"1" max:"1000" flag:"slots" doc:"exchanges in flight at once"`
	DailyQuota int    `toml:"daily_quota" default:"20000" min:"0" max:"1000000000" doc:"exchanges in 24 hours; 0 is no quota, and the default without a script"`
}
