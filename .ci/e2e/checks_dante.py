"""dante as the reference: the same bytes to its SOCKS front and to ours."""

import concurrent.futures

import clients
import clients_udp
import origin_udp
import socks_scripts
from clients import free_port, host_port, listens
from hostile import hostile
from judge import version
from socks_scripts import NAME
from world import require, until

USER = b"ann"

# Where the two differ: the script's beginning, ours, dante's, and why.
DIFFERENT = (
    ("port 0", "reply 2 closed", "reply 8 closed", "no address of any kind leads to port 0: it is the request that is not allowed"),
    ("request of version 4", "reply 1 closed", "nothing", "RFC 1928 has no word for it; dante says nothing and waits"),
    ("BIND", "reply 7 closed", "reply 0", "not offered: a node that listens for strangers is not what it is for"),
    ("SOCKS4a", "code 90, data: echo", "code 91 closed", "dante has SOCKS4 alone"),
    ("SOCKS4 command", "code 91 closed", "nothing closed", "dante hangs up without a word, against the protocol"),
    ("command", "reply 7 closed", "nothing closed", "likewise: RFC 1928, section 6, has reply 7 for it"),
    ("address type", "reply 8 closed", "nothing closed", "likewise: reply 8"),
    ("login: login of version 5", "login: no closed", "login: nothing closed", "likewise: RFC 1929, section 2, has a status for it"),
    ("login: no login", "0101 closed", "nothing closed", "likewise"),
    ("UDP: port 0", "the good one", "the end", "dante ends the association for one bad datagram"),
)


class Dante:
    """Its server, with a login of the system's accounts or with none."""

    def __init__(self, world, password=None):
        port = free_port()
        self.address = ("127.0.0.1", port)
        method = "username" if password else "none"
        config = world.write(f"danted-{method}.conf", f"""
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
external: ::1
clientmethod: none
socksmethod: {method}
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 protocol: tcp udp }}
""")
        argv = ["danted", "-f", config, "-p", f"{world.directory}/danted-{method}.pid"]
        if password:
            hashed = clients.run(["openssl", "passwd", "-6", "-stdin"], stdin=None, input=password.encode()).decode().strip()
            passwd = world.write("passwd", f"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n{USER.decode()}:x:12345:12345::/:/bin/false\n")
            shadow = world.write("shadow", f"root:*:1::::::\nnobody:*:1::::::\n{USER.decode()}:{hashed}:19000::::::\n")
            argv = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd && mount --bind "$1" /etc/shadow && shift && exec "$@"',
                    passwd, shadow, *argv]
        program = world.start(world.with_hosts(argv), "danted")
        until(lambda: listens(port), 10, f"danted listens {program.err()}")


@hostile(3, 5, 6, 8, 9, 10, 12, 14, 18, 19, 20, 21)
def judge_dante(world):
    """Greetings, logins, requests and datagrams, good and bad."""
    node, password = world.node(), world.secret()
    users = f'[{{ name = "{USER.decode()}", password = "{password}" }}]'
    ours = [host_port(world.proxy(node.deployment(), node.secrets["e2e"], users=each, connect="confirmed")[1]) for each in ("[]", users)]
    theirs = [Dante(world, each).address for each in (None, password)]
    talks = []
    closed = free_port()
    for table, mine, other in zip((socks_scripts.talks, socks_scripts.logins), ours, theirs):
        for name, steps in table(world.origin.echo, world.origin.echo6, closed, USER, password.encode()).items():
            talks.append((name if table is socks_scripts.talks else "login: " + name, mine, other, steps))
    with concurrent.futures.ThreadPoolExecutor(2 * len(talks)) as pool:
        plays = [(name, pool.submit(socks_scripts.play, mine, steps), pool.submit(socks_scripts.play, other, steps)) for name, mine, other, steps in talks]
        outcomes = {name: (mine.result(), other.result()) for name, mine, other in plays}
    outcomes.update(datagrams(ours[0], theirs[0]))
    wrong, alike, used = [], 0, set()
    for name, (mine, other) in outcomes.items():
        stated = next((each for each in DIFFERENT if name.startswith(each[0])), None)
        if stated and mine.endswith(stated[1]) and other.endswith(stated[2]):
            used.add(stated)
        elif mine == other and not stated:
            alike += 1
        else:
            wrong.append(f"{name}: ours is {mine!r}, dante's {other!r}" + (f", stated is {stated}" if stated else ""))
    wrong += [f"what is stated does not come about: {each}" for each in DIFFERENT if each not in used]
    require(not wrong, f"{len(wrong)} of {len(outcomes)} are wrong:\n     " + "\n     ".join(wrong))
    return f"{version('danted', '-v').split('.  ')[0]}: {len(outcomes)} scripts, {alike} alike, {len(outcomes) - alike} differ as stated"


def datagrams(*servers):
    """What either does of the same datagrams: name -> both outcomes."""
    origin = origin_udp.OriginUDP()
    good = clients_udp.header(("127.0.0.1", origin.echo))
    port = good[-2:]
    table = {
        "IPv4": good + b"x", "IPv6": clients_udp.header(("::1", origin.echo6)) + b"x",
        "name": good[:3] + b"\x03" + bytes([len(NAME)]) + NAME + port + b"x",
        "no payload": good, "60,000 bytes": good + bytes(60_000),
        "reserved bytes": b"RS" + good[2:] + b"x",
        "fragment 1": good[:2] + b"\x01" + good[3:] + b"x", "fragment 0x81": good[:2] + b"\x81" + good[3:] + b"x",
        "address type 9": good[:3] + b"\x09" + good[4:] + b"x", "short header": good[:5], "no header": b"x",
        "name past the end": good[:3] + b"\x03\xffshort", "port 0": good[:-2] + b"\0\0x",
    }
    with concurrent.futures.ThreadPoolExecutor(2 * len(table)) as pool:
        plays = {name: [pool.submit(datagram, server, text, good) for server in servers] for name, text in table.items()}
        return {"UDP: " + name: tuple(play.result() for play in both) for name, both in plays.items()}


def datagram(server, text, good):
    """Sends a datagram and then a good one, and tells which were answered."""
    host, port = server
    with clients_udp.Association(f"{host}:{port}") as client:
        client.socket.settimeout(socks_scripts.QUIET)
        said = []
        try:
            client.socket.send(text)
            client.socket.send(good + b"afterwards")
            while len(said) < 2:
                payload, peer = client.receive()
                said.append("the good one" if payload == b"afterwards" else f"{len(payload)} bytes of {peer[0]}")
        except TimeoutError:
            pass
        except OSError:
            said.append("the end")
        return ", ".join(sorted(said)) or "nothing"


CHECKS = [(judge_dante, 60)]
