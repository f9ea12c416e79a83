"""The files in deploy/: their ports, paths, limits and settings are those of the service and of each other."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lsgmer.core.errors import ParamsError
from lsgmer.registry.layout import REQUIREMENTS
from lsgmer.registry.trial import serve_command
from lsgmer.service.settings import PREFIX, ServiceSettings, read_settings
from serving.guard import PROBES
from tests.support.server import ROOT

DEPLOY = ROOT / "deploy"
PORT = 3000
USER = 10001
BENTO = Path("/opt/lsgmer/bento")
LOG, KEYS = Path("/var/lib/lsgmer/predictions"), Path("/etc/lsgmer/keys.json")


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all((DEPLOY / name).read_text()))


DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE = documents("compose.yaml")[0]["services"]["service"]
OBJECTS = {(found["kind"], found["metadata"]["name"]): found for found in documents("kubernetes.yaml")}
POD = OBJECTS["StatefulSet", "lsgmer"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def instruction(name: str) -> str:
    """The last instruction of this name in the Dockerfile."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1]


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "lsgmer.service").read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def environments() -> dict[str, dict[str, str]]:
    pairs = [word.split("=", 1) for line in unit()["Environment"] for word in shlex.split(line)]
    return {
        "Dockerfile": dict(word.split("=", 1) for word in shlex.split(instruction("ENV"))),
        "compose.yaml": COMPOSE["environment"],
        "kubernetes.yaml": {found["name"]: found["value"] for found in CONTAINER["env"]},
        "lsgmer.service": dict(pairs),
    }


@pytest.mark.parametrize("name", environments())
def test_every_setting_is_one_that_the_service_takes(name: str) -> None:
    settings = read_settings(environments()[name])
    assert (settings.log, settings.keys, settings.jobs) == (LOG, KEYS, LOG.parent / "jobs")
    if name != "Dockerfile":  # with less memory than the defaults may take
        assert settings.max_channels * settings.max_sample_rate <= 2 * 48_000


def test_the_image_serves_as_lsgmer_serve_does() -> None:
    given = json.loads(instruction("ENTRYPOINT")) + json.loads(instruction("CMD"))
    assert given[1:] == [*serve_command(BENTO, "0.0.0.0", PORT)[1:]]
    assert instruction("EXPOSE") == str(PORT)
    check = json.loads(instruction("HEALTHCHECK").split("CMD ")[1])[-1]
    assert str(PORT) in check
    assert "'/readyz'" in check
    compile(check, "HEALTHCHECK", "exec")


def test_the_image_installs_wheels_by_hash_from_what_the_bento_carries_and_runs_as_nobody_special() -> None:
    (install,) = (line for line in DOCKERFILE.splitlines() if "pip install" in line)
    assert {"--only-binary", "--no-deps", "--require-hashes"} <= set(install.split())
    assert f"COPY src/{REQUIREMENTS} " in DOCKERFILE
    assert instruction("USER") == f"{USER}:{USER}"
    assert instruction("VOLUME") == f'["{LOG.parent}"]'


def test_compose_keeps_the_log_bounds_the_rest_and_waits_for_answers() -> None:
    targets = {mount.split(":")[1]: mount.split(":")[2:] for mount in COMPOSE["volumes"]}
    assert targets == {str(LOG.parent): [], str(KEYS.parent): ["ro"]}
    assert COMPOSE["read_only"] is True
    (tmpfs,) = COMPOSE["tmpfs"]
    assert tmpfs.startswith("/tmp:size=")
    assert environments()["Dockerfile"]["BENTOML_HOME"].startswith("/tmp/")
    assert COMPOSE["user"] == f"{USER}:{USER}"
    assert COMPOSE["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert {"cpus", "mem_limit", "pids_limit", "cap_drop", "restart"} <= COMPOSE.keys()
    assert int(COMPOSE["stop_grace_period"].removesuffix("s")) > ServiceSettings().answer_s


def test_the_unit_serves_as_lsgmer_serve_does_and_waits_for_answers() -> None:
    found = unit()
    assert shlex.split(found["ExecStart"][0])[1:] == serve_command(BENTO, "127.0.0.1", PORT)[1:]
    assert f"/var/lib/{found['StateDirectory'][0]}" == str(LOG.parent)
    assert environments()["lsgmer.service"]["BENTOML_HOME"] == f"/run/{found['RuntimeDirectory'][0]}"
    assert int(found["TimeoutStopSec"][0]) > ServiceSettings().answer_s
    assert found["ProtectSystem"] == ["strict"]
    assert found["NoNewPrivileges"] == ["yes"]
    assert "AF_NETLINK" in found["RestrictAddressFamilies"][0]  # without it libzmq aborts


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "lsgmer.service"
    text = (DEPLOY / "lsgmer.service").read_text()
    copy.write_text(text.replace("/opt/lsgmer/venv/bin/python", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "lsgmer" in line]) == (0, [])


def test_kubernetes_probes_ports_and_mounts_are_the_services() -> None:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[name]["httpGet"]["path"] in PROBES
        assert CONTAINER[name]["httpGet"]["port"] == "http"
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": PORT}]
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert mounts.keys() == {str(LOG.parent), str(KEYS.parent), "/tmp"}
    claims = OBJECTS["StatefulSet", "lsgmer"]["spec"]["volumeClaimTemplates"]
    volumes = {found["name"] for found in (*POD["volumes"], *(claim["metadata"] for claim in claims))}
    assert volumes == set(mounts.values())
    assert POD["securityContext"]["runAsUser"] == POD["securityContext"]["fsGroup"] == USER
    wait = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > wait + ServiceSettings().answer_s


def test_kubernetes_names_lead_somewhere() -> None:
    labels = OBJECTS["StatefulSet", "lsgmer"]["spec"]["template"]["metadata"]["labels"]
    for name in ("lsgmer", "lsgmer-pods"):
        assert OBJECTS["Service", name]["spec"]["selector"] == labels
    target = OBJECTS["HorizontalPodAutoscaler", "lsgmer"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in OBJECTS
    assert OBJECTS["StatefulSet", "lsgmer"]["spec"]["serviceName"] == "lsgmer-pods"


def test_kubernetes_does_not_set_settings_of_its_own() -> None:
    """A Service called lsgmer gives pods LSGMER_SERVICE_HOST, which the settings refuse as a misspelt name."""
    assert POD["enableServiceLinks"] is False
    with pytest.raises(ParamsError, match="LSGMER_SERVICE_HOST"):
        read_settings({f"{PREFIX}HOST": "10.0.0.1"})


def test_nginx_passes_on_what_the_guard_reads_and_no_more_than_it_takes() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    assert "proxy_set_header Host $http_host;" in text
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
    assert f"client_max_body_size {ServiceSettings().max_upload_mib:g}m;" in text
    assert f"client_max_body_size {ServiceSettings().max_call_mib:g}m;" in text
    usual, call, live = map(int, re.findall(r"proxy_read_timeout (\d+)s;", text))
    assert usual > ServiceSettings().answer_s
    assert call > ServiceSettings().call_upload_s
    assert live > ServiceSettings().live_idle_s
    assert f"proxy_pass http://127.0.0.1:{PORT};" in text


def test_the_guide_names_files_and_settings_that_exist() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    for path in re.findall(r"`((?:deploy|docs|lsgmer|serving|tests)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(rf"{PREFIX}([A-Z_]+[A-Z])", text.replace(f"{PREFIX}NAME=VALUE", "")):
        assert name.lower() in ServiceSettings.model_fields, name
    assert {path.name for path in DEPLOY.iterdir()} <= set(re.findall(r"deploy/([\w.]+)", text))
