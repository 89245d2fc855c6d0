package setup

// pac sends everything to the proxy but what is on this machine and its network.
// It looks no name up, which would tell the network where one goes, and has no
// DIRECT to fall back on: what the proxy does not carry is not carried.
const pac = `function FindProxyForURL(url, host) {
  if (isPlainHostName(host) || dnsDomainIs(host, ".local") || dnsDomainIs(host, ".localhost") ||
      /^(127|10|192\.168|169\.254|172\.(1[6-9]|2[0-9]|3[01]))\.[0-9.]+$/.test(host) ||
      /^\[?(::1|f[cd][0-9a-f]{2}:|fe80:)/i.test(host)) {
    return "DIRECT";
  }
  return "SOCKS5 127.0.0.1:1080; SOCKS 127.0.0.1:1080; PROXY 127.0.0.1:1080";
}
`
