package buf

const tcpNotsentLowat = 25 // linux/tcp.h
