package setup

// pac is what the proxy serves at /proxy.pac. There is no DIRECT in it: when the proxy
// is not there, nothing goes past it. (What is on this machine browsers reach directly by
// themselves.)
const pac = `function FindProxyForURL(url, host) {
  return "SOCKS5 127.0.0.1:1080; PROXY 127.0.0.1:1080";
}
`
