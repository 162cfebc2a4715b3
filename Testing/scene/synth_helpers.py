"""A service with a real worker, and what several tests of the module's logic do with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from MedDDPMSlicerLib.Processes import WorkerProcess
from MedDDPMSlicerLib.Storage import SPOOLS, Settings, Storage
from MedDDPMSynthLib.Options import SynthInputs, SynthOptions
from MedDDPMSynthLib.Run import SynthRun
from MedDDPMSynthLib.SynthService import SynthService
from waiting import SECONDS, pollUntil


def newService(root: Path, python: str | list[str], **more: Any) -> SynthService:
    """A service on the current scene. Services of the same ``root`` share their warm worker.

    What is not installed here does not matter: the worker has a Python of its own.
    """
    command = [python] if isinstance(python, str) else python
    return SynthService(Storage(root), command, Settings(), **{"missing": lambda use: [], **more})


def lentService(root: Path, python: str, **more: Any) -> Iterator[SynthService]:
    """For a fixture: a service that leaves its worker warm for the next test, but no job."""
    service = newService(root, python, **more)
    yield service
    service.closeScene()
    pollUntil(service, lambda: not service.jobs.active and not service.toolsJobs.active)
    service.detach()


def endWorkers(root: Path) -> None:
    """Kill the workers of all spools below ``root``."""
    for name in SPOOLS:
        for spool in root.glob(f"seat-*/{name}"):
            WorkerProcess(spool).kill()


def options(model: Any, **changes: Any) -> SynthOptions:
    """Options of a short generation on the CPU."""
    return SynthOptions(model=str(model), **{"steps": 2, "device": "cpu", "precision": "fp32", "seed": 7, **changes})


def generated(service: SynthService, segmentation: Any, model: Any, **changes: Any) -> SynthRun:
    """A generation that has ended well."""
    run = service.generate(SynthInputs(segmentation), options(model, **changes))
    service.waitFor(run, SECONDS)
    run.raiseFailure()
    return run


def leftovers(service: SynthService) -> list[str]:
    """Names of all job folders and exchange files that are there."""
    folders = [p.name for spool in (service.jobs.spool, service.toolsJobs.spool) for p in spool.iterdir() if p.is_dir()]
    return folders + [p.name for p in service.storage.exchange.iterdir()]
