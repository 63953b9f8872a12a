"""A Slurm of three nodes on this machine, with its own folder, ports, key and configuration, for the tests beside this
file."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")

# A node has one GPU as far as Slurm can tell: its device files must be there, and need not be GPUs.
SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=2
MinJobAge=3600
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
NodeName=n[0-2] NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]},{ports[2]},{ports[3]} CPUs=8 RealMemory=16000 \
Gres=gpu:fake:1 State=UNKNOWN
PartitionName=main Nodes=n[0-1] Default=YES MaxTime=INFINITE State=UP
PartitionName=fragile Nodes=n2 MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        return [taken.getsockname()[1] for taken in sockets]


class Slurm:
    """The daemons, and what one asks of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        path = os.pathsep.join([f"{folder}/bin", str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SNAKEMAKE_"))},
            "PATH": path,
            "SLURM_CONF": f"{folder}/slurm.conf",
            "ROPEWALK_DEVICE": "cpu",  # the GPUs of these nodes are none
            "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": "",
        }

    @staticmethod
    def wait_for(what: str, done: Callable[[], object], seconds: float = 120) -> None:
        """Wait until something is so, and fail where it does not become so."""
        until = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < until, f"waited {seconds:.0f} s for {what}"
            time.sleep(0.2)

    def start(self) -> None:
        """Write the configuration, start all daemons, and wait for all nodes."""
        self.folder.chmod(0o755)  # munged serves nobody from a closed folder
        (self.folder / "bin").mkdir()
        (self.folder / "state").mkdir()
        host = socket.gethostname().split(".")[0]
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(host=host, ports=free_ports(4), folder=self.folder))
        device = next(path for path in ("/dev/tty0", "/dev/tty", "/dev/null") if Path(path).exists())
        (self.folder / "gres.conf").write_text(f"NodeName=n[0-2] Name=gpu Type=fake File={device}\n")
        # The executor keeps SLURM_CONF from the srun of a job, which would look for the cluster of this machine.
        srun = self.folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        self.daemon("munged", "munged", "--foreground", *(f"--{key}={self.folder / f}" for key, f in files.items()))
        self.wait_for("munged", (self.folder / "munge.socket").exists, 10)
        self.daemon("slurmctld", "slurmctld", "-D")
        for node in ("n0", "n1", "n2"):
            self.node(node)
        self.wait_for("three idle nodes", lambda: self.ask("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 3, 30)

    def daemon(self, name: str, *command: str) -> None:
        """Start a daemon; it ends with this process at the latest."""
        with (self.folder / f"{name}.out").open("ab") as output:
            self.daemons[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environment
            )

    def node(self, name: str) -> None:
        """Start the daemon of a node."""
        self.daemon(name, "slurmd", "-D", "-N", name)

    def kill_node(self, name: str, job: str) -> None:
        """Kill a node's daemon and its job with kill -9, as the loss of its machine would, and let Slurm notice."""
        listed = self.ask("scontrol", "listpids", job, name).splitlines()[1:]
        pids = [int(line.split()[0]) for line in listed]
        assert pids, f"no process of job {job}"
        self.daemons[name].kill()
        self.daemons[name].wait()
        # Before the job's processes end, whose last one would still report them.
        self.ask("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=killed")
        for pid in pids:
            if pid > 1:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End all jobs, then all daemons."""
        subprocess.run(["scancel", "--user=root"], env=self.environment, capture_output=True, check=False, timeout=30)
        until = time.monotonic() + 10
        while time.monotonic() < until and self.ask("squeue", "-h"):
            time.sleep(0.2)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints; nothing where it fails."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout

    def jobs(self, folder: Path) -> list[dict[str, str]]:
        """All jobs of the workflow in a folder, in the order of their submission, with what was asked for."""
        records = self.ask("scontrol", "show", "job", "-o").splitlines()
        jobs = [dict(re.findall(r"(\S+?)=(\S*)", record)) for record in records]
        return sorted((job for job in jobs if job.get("WorkDir") == str(folder)), key=lambda job: int(job["JobId"]))

    def snakemake(self, folder: Path, *words: str, init: int = 8) -> subprocess.Popen[bytes]:
        """Start a workflow with the profile that is shipped, asking Slurm sooner than on a real cluster."""
        timing = ["--slurm-init-seconds-before-status-checks", str(init), "--latency-wait", "5"]
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *timing, *words]
        with (folder / "said").open("wb") as said:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=self.environment,
                stdout=said,
                stderr=said,
                # A shell's background job ignores what Ctrl-C sends, and so would its children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def finish(self, folder: Path, workflow: subprocess.Popen[bytes], seconds: float = 600) -> str:
        """Wait for a workflow to end as it should, and give back what it said."""
        try:
            workflow.wait(seconds)
        except subprocess.TimeoutExpired:
            workflow.kill()
        said = (folder / "said").read_text()
        assert workflow.returncode == 0, f"{said[-6000:]}\n{self.ask('squeue', '--states=all')}"
        return said


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Three nodes with a GPU each: two in the partition `main`, and one in `fragile`."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    missing = [name for name in (*DAEMONS, "sbatch", "srun") if not shutil.which(name, path=path)]
    if missing:
        pytest.skip(f"needs a Slurm to start, and there is no {', '.join(missing)}")
    if os.geteuid():
        pytest.skip("needs root, who alone starts a slurmd")
    # Not below pytest's own folder: a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        cluster = Slurm(Path(folder))
        cluster.environment["PATH"] += f"{os.pathsep}/usr/sbin"
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
