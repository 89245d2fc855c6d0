package buf

const tcpNotsentLowat = 0x201 // netinet/tcp.h
