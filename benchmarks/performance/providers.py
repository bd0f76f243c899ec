"""The two providers that stand behind every gateway: nginx, and `upstream.py` for what it cannot."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from upstream import ANSWER, LIMITS

from .machine import OTHER_CORE, tool
from .process import Process, free_port

UPSTREAM: Final = Path(__file__).parents[1] / "upstream.py"

# One worker; connections live for ever; nothing is logged.
NGINX: Final = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; server_tokens off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096{tls};
        location / {{ default_type application/json; {headers} return 200 '{answer}'; }}
    }}
}}
"""

TLS: Final = """ ssl http2;
        ssl_certificate {certificate}; ssl_certificate_key {certificate}.key;
        ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:sessions:1m"""


@dataclass(frozen=True)
class Providers:
    """The processes, which share a core with the load."""

    nginx: Process
    upstream: Process

    def port(self, model: str) -> int:
        """Return where a model is served: by nginx, the fastest, where it can."""
        return (self.nginx if model == "whole" else self.upstream).port


def start_providers(stack: ExitStack, folder: Path) -> Providers:
    nginx = start_nginx(folder)
    stack.callback(nginx.stop)
    port = free_port()
    command = [sys.executable, str(UPSTREAM), str(port)]
    upstream = Process(command, port=port, core=OTHER_CORE, folder=folder)
    stack.callback(upstream.stop)
    return Providers(nginx, upstream)


def start_nginx(folder: Path, certificate: Path | None = None) -> Process:
    """Start it; with a certificate, whose key is beside it as `.key`, it speaks TLS and HTTP/2."""
    port = free_port()
    headers = " ".join(f"add_header {name} '{value}';" for name, value in LIMITS.items())
    tls = "" if certificate is None else TLS.format(certificate=certificate)
    config = folder / "nginx.conf"
    text = NGINX.format(folder=folder, port=port, headers=headers, answer=ANSWER, tls=tls)
    config.write_text(text)
    command = [tool("nginx"), "-c", str(config), "-e", str(folder / "error.log")]
    return Process(command, port=port, core=OTHER_CORE, folder=folder)
