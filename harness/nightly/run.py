"""One night: its file read, its checks run, its page written, printed and sent."""

from __future__ import annotations

from pathlib import Path

from harness.environment import Device
from harness.errors import Exit, OutputError
from harness.files import write_text
from harness.nightly.checks import Night
from harness.nightly.config import check_date, load
from harness.nightly.report import markdown, notify
from harness.plan.request import local_device
from harness.recipes.profile import Profile
from harness.scheduler.local import Local
from harness.scheduler.slurm.remote import ClusterTarget
from harness.scheduler.slurm.transport import Slurm
from harness.scheduler.transport import Transport
from harness.store.nights import History
from harness.store.store import Store


def run(file: str | Path, date: str | None, *, data_dir: Path | None, results: Path, device: str) -> Exit:
    """Runs all checks of a nightly file, writes `nightly/DATE.md` under the results, and notifies whom the file names.

    `date`: YYYY-MM-DD, None is today. OutputError, after the page was printed and sent, where it cannot be written.
    """
    config = load(file)
    store = Store(results)
    store.prepare()
    target = ClusterTarget.of(config.on) if config.on else None
    if target is not None:
        target.check()

    def device_of(profile: Profile) -> Device:
        return target.device(device) if target else local_device(device, otherwise=profile.device)

    def transport(of: Store, node: Device) -> Transport:
        if target is None:
            return Local(of, data_dir=data_dir, device=node)
        return Slurm(of, target.cluster, data_dir=data_dir, controller=target.controller)

    device_of(Profile(name="any", about=""))  # one that is asked for and not there is an error before anything runs
    night = Night(config, store, data_dir, device_of, transport, target.processes if target else 1)
    if date:
        night.today = check_date(date)
    checks, verdict = night.run()
    page = markdown(checks, verdict, night.today)
    path = store.root / "nightly" / f"{night.today.isoformat()}.md"
    failure: OutputError | None = None
    try:
        from reports.figures import night_history

        history, today = History(store.root).nights(), night.today.isoformat()
        page = "\n".join([page, *night_history.tonight(history, today, path.with_suffix(""), config.slice.accepted)])
        write_text(path, page)
    except OutputError as error:
        failure = error
    print(page)
    problem = notify(config, page, verdict)
    if problem:
        print(problem)
    if failure is not None:
        raise failure
    print(f"report: {path}")
    return verdict
