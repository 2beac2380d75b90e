"""Stand-ins for Slurm's commands that really run a job's script, on this machine."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

# State lies in $FAKE_SLURM: <job>.pid, <job>.state. A job's processes share a session.
COMMANDS = {
    "sbatch": """
import subprocess
script = Path(args[-1])
options = dict(re.findall(r"^#SBATCH --([\\w-]+)=(.*)$", script.read_text(), re.M))
job = str(1 + len(list(home.glob("*.pid"))))
environment = os.environ | {
    "SLURM_JOB_ID": job, "SLURM_JOB_NUM_NODES": options["nodes"], "SLURM_JOB_NODELIST": "here",
}
(home / f"{job}.state").write_text("RUNNING")
(home / f"{job}.options").write_text(json.dumps(options))
log = open(options["output"], "w")
run = f"bash {script}; echo COMPLETED > {home / job}.state"
process = subprocess.Popen(["bash", "-c", run], env=environment, stdout=log, stderr=log,
                           stdin=subprocess.DEVNULL, start_new_session=True)
(home / f"{job}.pid").write_text(str(process.pid))
print(f"{job};cluster")
""",
    "squeue": """
job = args[-1].partition("=")[2]
if not (home / f"{job}.state").exists():
    sys.exit("slurm_load_jobs error: Invalid job id specified")
print((home / f"{job}.state").read_text().strip())
""",
    "scancel": """
job = args[-1]
with contextlib.suppress(ProcessLookupError):
    if "--signal=TERM" in args:
        for pid in (home / f"{job}.steps").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
    else:
        os.killpg(int((home / f"{job}.pid").read_text()), signal.SIGKILL)
        (home / f"{job}.state").write_text("CANCELLED")
""",
    "srun": """
import subprocess
steps = [
    subprocess.Popen(args, env=os.environ | {"SLURM_NODEID": str(node)})
    for node in range(int(os.environ["SLURM_JOB_NUM_NODES"]))
]
(home / f"{os.environ['SLURM_JOB_ID']}.steps").write_text(" ".join(str(s.pid) for s in steps))
sys.exit(max(step.wait() for step in steps))
""",
    "scontrol": "print('127.0.0.1')",
}


def install(folder: Path, monkeypatch) -> Path:
    """Put the commands first on the path; returns the folder of their state."""
    home, commands = folder / "slurm", folder / "bin"
    home.mkdir()
    commands.mkdir()
    for name, body in COMMANDS.items():
        file = commands / name
        file.write_text(
            f"#!{sys.executable} -IS\n"
            "import contextlib, json, os, re, signal, sys\nfrom pathlib import Path\n"
            f"home, args = Path({str(home)!r}), sys.argv[1:]\n{body}"
        )
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return home
