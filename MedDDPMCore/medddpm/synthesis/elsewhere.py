"""A synthesis whose request names another computer, from the command line or Python."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

from ..errors import Cancelled, InputError, MedDDPMError
from ..jobs.events import State
from ..jobs.folder import JobFolder
from ..jobs.host import ConnectionLost
from ..jobs.outcome import EXIT_INTERNAL, Outcome, outcome_of
from ..jobs.remote import run_elsewhere
from ..models.places import find_model, model_folders
from ..progress import Reporter
from .names import case_names
from .provenance import NAME, remove_results
from .request import ANATOMIES, OWN, UNVERIFIED, SynthesisRequest, modality_files
from .results import CaseResult
from .verify import write_table


def run_on(request: SynthesisRequest, out: Path, reporter: Reporter) -> list[CaseResult]:
    """As ``pipeline.run``, on the computer ``request.on``.

    Where the connection is lost, the same request again goes on there. Raises what ``run_elsewhere`` does.
    """
    sent = _with_whole_paths(request).to_dict()
    digest = hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()
    job = JobFolder(out / f".job-{digest[:12]}")
    if not job.submitted:
        job.create(sent)
    job.prepare()
    failure = Outcome(State.FAILED, EXIT_INTERNAL, "No results came back for this mask.")
    try:
        run_elsewhere(job, reporter)
    except ConnectionLost:
        raise
    except Cancelled as exc:
        shutil.rmtree(job.path, ignore_errors=True)
        raise Cancelled(f"Stopped, and deleted on {request.on}. The same command again starts anew.") from exc
    except InputError:
        shutil.rmtree(job.path, ignore_errors=True)
        raise
    except MedDDPMError as exc:  # as the job ended there: some of the masks may be done
        failure = outcome_of(exc)
    results = []
    for mask, name in zip(map(Path, request.masks), case_names([Path(mask) for mask in request.masks]), strict=True):
        if (job.outputs / name / NAME).is_file():
            remove_results(out / name)
            shutil.copytree(job.outputs / name, out / name, dirs_exist_ok=True)
            results.append(CaseResult(mask, out / name, "done", sheets=tuple(sorted((out / name).glob("*.png")))))
        else:
            results.append(
                CaseResult(mask, out / name, "failed", failure.message, failure.exit_code, failure.option, failure.path)
            )
    shutil.rmtree(job.path, ignore_errors=True)
    if request.verify != UNVERIFIED:
        write_table(out, [result.folder for result in results])
    return results


def _with_whole_paths(request: SynthesisRequest) -> SynthesisRequest:
    """The request as it can be sent: files with their whole paths, and a model by name where every computer has it."""

    def entries(given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{name}={Path(path).absolute()}" for name, path in modality_files(given).items())

    model = find_model(request.model)
    shipped = model.parent in model_folders()[-2:]
    return replace(
        request,
        masks=tuple(str(Path(mask).absolute()) for mask in request.masks),
        images=tuple(str(Path(image).absolute()) for image in request.images),
        model=model.name if shipped else str(model.absolute()),
        context=entries(request.context),
        reference=entries(request.reference),
        region=request.region and str(Path(request.region).absolute()),
        before=request.before and str(Path(request.before).absolute()),
        verify=request.verify if request.verify in (UNVERIFIED, OWN) else str(Path(request.verify).absolute()),
        anatomy=request.anatomy if request.anatomy in ANATOMIES else str(Path(request.anatomy).absolute()),
    )
