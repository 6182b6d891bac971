"""`python -m harness nightly FILE`: one night from its file to its page and exit code."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from harness import environment
from harness.errors import Exit, OutputError
from harness.files import write_text
from harness.nightly import night
from harness.scheduler.slurm.remote import ClusterTarget
from harness.scheduler.transport import Transport
from harness.store.nights import History
from harness.store.store import Store
from reports.figures import night_history


def run(options: Namespace, data_dir: Path | None) -> Exit:
    """Runs all layers, writes `nightly/DATE.md` under the results, and notifies whom the file names."""
    config = night.load(options.file)
    store = Store(Path(options.results))
    store.prepare()
    place = ClusterTarget.of(config.on) if config.on else None
    if place is not None:
        place.check()
    device = place.device(options.device) if place else environment.device(options.device)

    def transport(of: Store) -> Transport:
        if place is not None:
            from harness.scheduler.slurm.transport import Slurm

            return Slurm(of, place.cluster, data_dir=data_dir, controller=place.controller)
        from harness.scheduler.local import Local

        return Local(of, data_dir=data_dir, device=device)

    each = place.cluster.processes if place else 1
    work = night.Night(config, store, data_dir, device, transport, each)
    if options.date:
        work.today = night.check_date(options.date)
    layers, verdict = work.run()
    page = night.markdown(layers, verdict, work.today)
    written, refusal = store.root / "nightly" / f"{work.today.isoformat()}.md", None
    try:
        nights, date = History(store.root).nights(), work.today.isoformat()
        page = "\n".join([page, *night_history.tonight(nights, date, written.with_suffix(""), config.slice.accepted)])
        write_text(written, page)
    except OutputError as error:
        refusal = error
    print(page)
    problem = night.notify(config, page, verdict)
    if problem:
        print(problem)
    if refusal is not None:  # not before the page was printed and sent
        raise refusal
    print(f"report: {written}")
    return verdict
