"""What the judges share: implementations of others that say whether the program is right.

Each says which version it is, how much it has looked at, and what it found. All of them
look at all they can but testssl, of which `make e2e` runs a part; JUDGES=whole runs the rest.
"""

import hashlib
import os
import subprocess

import clients
from clients import free_port, listens
from world import require, until

WHOLE = os.environ.get("JUDGES") == "whole"


def version(*argv):
    """The first line that a program has to say about itself, with a figure in it."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    lines = [line.strip() for line in done.stdout.decode(errors="replace").splitlines()]
    return next(line for line in lines if any(letter.isdigit() for letter in line))


def package(name):
    """The version of a package, of a program that does not tell its own."""
    return f"{name} {clients.run(['dpkg-query', '-W', '-f', '${Version}', name]).decode()}"


def verdict(cases, wrong):
    """What to print of so many cases; those that are wrong are the check's failure."""
    require(cases > 0, "there was no case")
    require(not wrong, f"{len(wrong)} of {cases} cases are wrong:\n     " + "\n     ".join(wrong))
    return f"{cases} of {cases} cases right"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Front:
    """nginx before the origin: IPv4 and IPv6, HTTP/1.1, and HTTP/2 where there is TLS."""

    def __init__(self, world):
        self.http, self.https = free_port(), free_port()
        paths = "\n".join(f"{name}_temp_path {world.directory}/nginx-{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = world.write("nginx.conf", f"""
daemon off;
user root;
pid {world.directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {paths}
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{self.http};
        listen [::1]:{self.http};
        listen 127.0.0.1:{self.https} ssl http2;
        listen [::1]:{self.https} ssl http2;
        ssl_certificate {world.tools.certificate};
        ssl_certificate_key {world.tools.certificate};
        location / {{
            proxy_pass http://127.0.0.1:{world.origin.http};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
""")
        program = world.start(["nginx", "-p", world.directory, "-e", "stderr", "-c", config], "nginx")
        until(lambda: listens(self.http) or not program.running(), 10, "nginx listens")
        require(program.running(), program.err())
