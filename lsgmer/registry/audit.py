"""`lsgmer audit`: recompute every hash, from a package back to the raw data, and trust none that is only recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsgmer.core.errors import LsgmerError
from lsgmer.core.hashing import file_sha256
from lsgmer.core.paths import Workspace
from lsgmer.core.records import SIDE_BY_SIDE, EncoderSpec, Modality, Record, read_record
from lsgmer.core.source import commit_state
from lsgmer.encoders.weights import find_files, is_packed, package_file, source_folder
from lsgmer.evaluation.records import GateDecision
from lsgmer.model.train_card import CARD, ENCODERS, WEIGHTS, TrainCard
from lsgmer.registry.bento import RESTORE, PackageSource, served_files, version_of
from lsgmer.registry.champions import bento_source
from lsgmer.registry.dvc_lock import HERE, Lock, Recorded
from lsgmer.registry.layout import MODEL, MODEL_CARD, MODEL_WEIGHTS, PACKAGE_SOURCE, PAPERS
from lsgmer.registry.model_card import ModelCard, PackageRecord

Status = Literal["verified", "missing", "broken"]
WORST: tuple[Status, ...] = ("broken", "missing", "verified")


class Link(Record):
    """One link of the chain: verified (every hash matches), missing (cannot be checked here) or broken."""

    name: str
    status: Status
    details: tuple[str, ...]


class AuditReport(Record):
    """All links, from the package to the lock."""

    target: str
    links: tuple[Link, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the links that do not match their recorded hashes."""
        return tuple(link.name for link in self.links if link.status == "broken")

    def to_text(self) -> str:
        """Return a line per link, and below it what differs from the record or, if nothing does, what was checked."""
        width = max(len(link.name) for link in self.links)
        lines = [f"audit of {self.target}"]
        for link in self.links:
            first, *rest = link.details or ("",)
            lines.append(f"  {link.status:<8}  {link.name:<{width}}  {first}")
            lines += [f"{'':<12}{'':<{width}}  {detail}" for detail in rest]
        counts = {status: sum(link.status == status for link in self.links) for status in WORST}
        lines.append(", ".join(f"{counts[status]} {status}" for status in reversed(WORST)))
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison's outcome."""

    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class Case:
    """What is audited: the package's sources `root`, its tag, its card and lock, and the workspace around it."""

    workspace: Workspace
    root: Path
    tag: str
    card: ModelCard
    lock: Lock

    def paper(self, name: str) -> Path:
        """Return the path of one of the package's records."""
        return self.root / PAPERS / name

    def outs(self, *paths: str) -> list[Comparison]:
        """Compare outputs of the pipeline with their md5 in the embedded dvc.lock."""
        return [self._recorded(path, self.lock.outs.get(path)) for path in paths]

    def _recorded(self, path: str, recorded: Recorded | None) -> Comparison:
        if recorded is None:
            return Comparison("broken", f"{path}: not in the embedded dvc.lock")
        status, detail = recorded.check(self.workspace)
        return Comparison(status, detail)


def audit(workspace: Workspace, target: str) -> AuditReport:
    """Audit `target`: a Bento's tag, its folder, or the package in the workspace's data/package.

    Raises LsgmerError when there is no package to audit; whatever is wrong inside one is a broken link.
    """
    root, tag = locate(workspace, target)
    try:
        card = read_record((root / MODEL_CARD), ModelCard, RESTORE)
    except (OSError, ValueError, LsgmerError) as error:
        return _unreadable(tag, "package", error)
    try:
        lock = Lock.read(root / PAPERS / "dvc.lock")
    except (OSError, ValueError, LsgmerError) as error:
        return _unreadable(tag, "lock", error)
    case = Case(workspace, root, tag, card, lock)
    return AuditReport(target=tag, links=tuple(_link(name, check, case) for name, check in LINKS.items()))


def _unreadable(tag: str, name: str, error: Exception) -> AuditReport:
    """Return the report of a package of which a record cannot be read, so that nothing can be followed."""
    return AuditReport(target=tag, links=(Link(name=name, status="broken", details=(f"unreadable: {error}",)),))


def locate(workspace: Workspace, target: str) -> tuple[Path, str]:
    """Return the folder of a package's sources and its tag."""
    path = workspace.root / target
    if target in ("data/package", "data/train") or path == workspace.data("package"):
        record = workspace.data("package") / "package.json"
        if not record.is_file():
            raise LsgmerError(f"{record}: nothing is packaged here; run `lsgmer run`")
        target = read_record(record, PackageRecord, RESTORE).tag
    for root in (path / "src", path):
        if (root / MODEL_CARD).is_file():
            bento = root.parent
            return root, f"{bento.parent.name}:{bento.name}"
    return bento_source(workspace, target), target


def _link(name: str, check: Callable[[Case], list[Comparison]], case: Case) -> Link:
    """Run one link's comparisons; a record that cannot be read is broken."""
    try:
        findings = check(case)
    except (OSError, ValueError, LsgmerError) as error:
        findings = [Comparison("broken", str(error))]
    status = next(s for s in WORST if s == "verified" or any(f.status == s for f in findings))
    shown = [f.detail for f in findings if f.status == status]
    return Link(name=name, status=status, details=tuple(shown))


def _package(case: Case) -> list[Comparison]:
    """Recompute the version from weights, card and code, and compare every file with package.json."""
    served = served_files(case.root)
    made = version_of(file_sha256(case.root / MODEL_WEIGHTS), file_sha256(case.root / MODEL_CARD), served)
    version = case.tag.partition(":")[2]
    found = [_same("version made from weights, card and code", made, version)]
    source = read_record((case.root / PACKAGE_SOURCE), PackageSource, RESTORE)
    changed = sorted(name for name in {*served, *source.served} if served.get(name) != source.served.get(name))
    if changed:
        found.append(Comparison("broken", f"code changed since packaging: {', '.join(changed[:5])}"))
    record = case.workspace.data("package") / "package.json"
    if record.is_file():
        noted = read_record(record, PackageRecord, RESTORE)
        if noted.tag == case.tag:
            found += [_file(case.root.parent / name, sha256, name) for name, sha256 in sorted(noted.files.items())]
    return _brief(found, "files as package.json records them")


def _model(case: Case) -> list[Comparison]:
    lineage, folder = case.card.lineage, case.root / MODEL
    card = read_record((folder / CARD), TrainCard, RESTORE)
    return [
        _file(folder / WEIGHTS, lineage.weights_sha256, WEIGHTS),
        _file(folder / CARD, lineage.train_card_sha256, f"train {CARD}"),
        _same("weights named by the train card", card.weights_sha256, lineage.weights_sha256),
        *case.outs("data/train"),
    ]


def _gate(case: Case) -> list[Comparison]:
    decision = read_record(case.paper("gate.json"), GateDecision, RESTORE)
    lineage, forced = case.card.lineage, case.card.forced
    found = [
        _file(case.paper("gate.json"), lineage.gate_sha256, "gate.json"),
        _same("weights the gate judged", decision.weights_sha256, lineage.weights_sha256),
        _same("metrics the gate read", decision.metrics_sha256, lineage.metrics_sha256),
        *case.outs("data/gate"),
    ]
    if decision.verdict != "PASS" and forced is None:
        found.append(Comparison("broken", f"the gate's verdict is {decision.verdict} and nobody forced the promotion"))
    elif forced is not None:
        found.append(Comparison("verified", f"forced by {forced.by} over {decision.verdict}: {forced.reason}"))
    return found


def _metrics(case: Case) -> list[Comparison]:
    paper = _file(case.paper("metrics.json"), case.card.lineage.metrics_sha256, "metrics.json")
    return [paper, *case.outs("data/evaluate", "data/controls")]


def _features(case: Case) -> list[Comparison]:
    found = case.outs("data/features/train", "data/features/valid", "data/features/test")
    current = found[0].status == "verified" and found[0].detail.endswith(HERE)
    for name, sha256 in sorted(case.card.train.feature_sha256.items()):
        store = case.workspace.data("features") / name / "store.json"
        if store.is_file() and current:
            found.append(_file(store, sha256, f"{name} features named by the train card"))
    return found


def _encoders(case: Case) -> list[Comparison]:
    """Compare the encoders' files with the card: those in the package, and the folder that each was read from."""
    found: list[Comparison] = []
    for modality, spec in sorted(case.card.train.encoders.items()):
        parts = spec.parts if spec is not None else ()
        for i, part in enumerate(parts):
            if part.source is None:
                continue
            name = f"{modality} encoder {part.source}"
            if not is_packed(part.source):
                found.append(_installed(part, name))
                continue
            packed = case.root / MODEL / ENCODERS / modality
            beside = spec is not None and spec.kind == SIDE_BY_SIDE
            found.append(_folder(packed / str(i) if beside else packed, part, f"packed {name}"))
            folder = source_folder(part.source, case.workspace.root)
            if folder is not None:
                here = _folder(folder, part, name)
                current = here.status == "verified" or _features_claim(case, modality, spec)
                found.append(here if current else Comparison("verified", f"{name}: replaced since, and not used by it"))
    return found or [Comparison("verified", "no encoder has files of its own")]


def _installed(part: EncoderSpec, name: str) -> Comparison:
    """Compare the files of an encoder inside an installed package with its spec."""
    try:
        if part.kind == "transformers":
            return _folder(find_files(part.source, None, None, Path()).folder, part, name)
        return _file(package_file(str(part.source)), str(part.weights_sha256), name)
    except LsgmerError as error:
        return Comparison("missing", str(error))


def _folder(folder: Path, part: EncoderSpec, name: str) -> Comparison:
    """Compare an encoder's folder with its spec, file by file."""
    if not folder.is_dir():
        return Comparison("broken", f"{name}: {folder} is missing")
    try:
        wrong = find_files(str(folder.resolve()), None, None, Path()).differences(part)
    except LsgmerError as error:
        return Comparison("broken", f"{name}: {error}")
    if wrong:
        return Comparison("broken", f"{name}: {', '.join(wrong)} in {folder} changed since the features were extracted")
    return Comparison("verified", f"{name}: {str(part.weights_sha256)[:16]}")


def _features_claim(case: Case, modality: Modality, spec: EncoderSpec | None) -> bool:
    """Return whether the workspace's features say that `spec` made them: its folder should then still hold it."""
    try:
        stored = json.loads((case.workspace.data("features") / "train" / "store.json").read_text(encoding="utf-8"))
        return bool(EncoderSpec.model_validate(stored["encoders"][modality]) == spec)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _validated(case: Case) -> list[Comparison]:
    lineage = case.card.lineage
    return [
        _same("manifest named by the train card", case.card.train.manifest_sha256, lineage.manifest_sha256),
        _file(case.paper("profile.json"), lineage.profile_sha256, "profile.json"),
        *case.outs("data/validate", "data/manifest"),
    ]


def _raw(case: Case) -> list[Comparison]:
    return [case._recorded(path, recorded) for path, recorded in sorted(case.lock.raw.items())]


def _params(case: Case) -> list[Comparison]:
    found = [_file(case.paper("params.yaml"), case.card.lineage.params_sha256, "params.yaml")]
    differing = case.lock.differing_params(case.paper("params.yaml"))
    if differing:
        found.append(Comparison("broken", f"the stages ran with other values of {', '.join(differing)}"))
    here = case.workspace.params
    if here.is_file() and case.lock.differing_params(here):
        found.append(Comparison("verified", "the workspace's params.yaml has changed since"))
    return found


def _commit(case: Case) -> list[Comparison]:
    state = case.card.lineage.source
    if state.commit is None:
        return [Comparison("missing", "no_scm: it was made outside git; only the digest of its source is known")]
    if state.dirty:
        return [
            Comparison(
                "missing", f"made from uncommitted changes on top of {state.commit[:12]}: commit, then run again"
            )
        ]
    found = commit_state(case.workspace.root, state.commit)
    if found is None:
        return [Comparison("missing", f"commit {state.commit} is not in this repository; fetch it, then audit again")]
    return [_same(f"source at commit {state.commit[:12]}", found, state.source_sha256)]


def _lock(case: Case) -> list[Comparison]:
    found = [_file(case.paper("dvc.lock"), case.card.lineage.lock_sha256, "embedded dvc.lock")]
    found += [Comparison("broken", problem) for problem in case.lock.inconsistencies()]
    return found


# From the package back to what it was made from; the report shows these names.
LINKS: dict[str, Callable[[Case], list[Comparison]]] = {
    "package": _package,
    "model": _model,
    "gate": _gate,
    "metrics": _metrics,
    "features": _features,
    "encoders": _encoders,
    "validated manifest": _validated,
    "raw data": _raw,
    "params": _params,
    "git commit": _commit,
    "lock": _lock,
}


def _same(what: str, found: str, recorded: str) -> Comparison:
    if found == recorded:
        return Comparison("verified", f"{what}: {found[:16]}")
    return Comparison("broken", f"{what}: {found[:16]}, recorded {recorded[:16]}")


def _file(path: Path, sha256: str, what: str) -> Comparison:
    if not path.is_file():
        return Comparison("broken", f"{what}: {path} is missing")
    return _same(what, file_sha256(path), sha256)


def _brief(findings: list[Comparison], what: str) -> list[Comparison]:
    """Keep every finding that is not verified; sum up the rest, which can be a hundred files."""
    good = [finding for finding in findings if finding.status == "verified"]
    kept = good[:1] + ([Comparison("verified", f"{len(good) - 1} {what}")] if len(good) > 1 else [])
    return kept + [finding for finding in findings if finding.status != "verified"]
