#!/usr/bin/env python3
"""Measures the services as separate processes against `forebay run`, in turns on one machine.

    tests/measure/services.py target/release/forebay patients.ndjson 5

One gateway, transform worker and storage writer, PostgreSQL and Redis, all started here and ended with it; input is
sent by `forebay submit`, output and staging are in a local folder. Prints for each round the wall time and the CPU
time of each process: where other programs use the machine too, only the CPU time says something. Then, medians.
"""

import argparse
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

SERVICES = ("storage", "gateway", "transform")
TICKS = os.sysconf("SC_CLK_TCK")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("input", type=pathlib.Path)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--recipe", default="clinical")
    parser.add_argument("--memory", default="256MiB")
    parser.add_argument("--set", action="append", default=[], help="a setting; without any, protect=off")
    parser.add_argument("--port", type=int, default=7450, help="the first of six")
    return parser.parse_args()


class Fleet:
    """The services and what they need, in a folder of their own."""

    def __init__(self, asked, folder):
        self.asked, self.folder, self.processes = asked, folder, {}
        self.bin = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.database = folder / "postgres"
        self.database.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.database, "postgres")
        self.ports = dict(zip((*SERVICES, "postgres", "redis"), range(asked.port, asked.port + 5)))

    def postgres(self, program, *more):
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*user, self.bin / program, *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.database)

    def start(self):
        port, data = self.ports["postgres"], self.database / "data"
        self.postgres("initdb", "-D", data, "-A", "trust", "-U", "forebay")
        options = f"-p {port} -k {self.database} -c listen_addresses=127.0.0.1"
        self.postgres("pg_ctl", "-D", data, "-o", options, "-l", self.database / "log", "-w", "start")
        self.postgres("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "forebay", "forebay")
        redis = ["redis-server", "--port", str(self.ports["redis"]), "--save", "", "--dir", self.folder]
        self.processes["redis"] = subprocess.Popen(redis, stdout=subprocess.DEVNULL)
        for service in SERVICES:
            self.serve(service)
        time.sleep(2)

    def serve(self, service):
        variables = {
            "FOREBAY_LISTEN": f"127.0.0.1:{self.ports[service]}",
            "FOREBAY_CATALOG_URL": f"postgres://forebay@127.0.0.1:{self.ports['postgres']}/forebay",
            "FOREBAY_QUEUE_URL": f"redis://127.0.0.1:{self.ports['redis']}",
            "FOREBAY_STORE_URL": str(self.folder / "store"),
            "FOREBAY_STORAGE_URL": f"http://127.0.0.1:{self.ports['storage']}",
            "FOREBAY_SPILL": str(self.folder),
            "FOREBAY_MEMORY": self.asked.memory,
        }
        log = open(self.folder / f"{service}.log", "w")
        command = [self.asked.binary, "serve", service]
        self.processes[service] = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)

    def stop(self):
        for service in reversed(list(self.processes)):
            self.processes[service].send_signal(signal.SIGTERM)
            self.processes[service].wait()
        if (self.database / "data" / "postmaster.pid").exists():
            self.postgres("pg_ctl", "-D", self.database / "data", "-m", "fast", "stop")

    def pids(self):
        postmaster = int((self.database / "data" / "postmaster.pid").read_text().split()[0])
        return {"postgres": postmaster} | {name: process.pid for name, process in self.processes.items()}

    def cpu(self):
        return {name: sum(map(seconds, family(pid))) for name, pid in self.pids().items()}

    def peaks(self):
        return {name: max(map(peak, family(pid))) for name, pid in self.pids().items() if name in SERVICES}


def family(pid):
    """A process and its children, and theirs."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        children = [child for task in tasks for child in open(f"/proc/{pid}/task/{task}/children").read().split()]
    except OSError:
        return {pid}
    return {pid}.union(*(family(int(child)) for child in children))


def seconds(pid):
    """CPU time of a process and of its children that have ended."""
    try:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15])) / TICKS


def peak(pid):
    """Most MiB that a process had resident."""
    try:
        lines = open(f"/proc/{pid}/status").read().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def timed(command):
    """Wall and CPU time of a command."""
    since, before = time.monotonic(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - since, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used


def main():
    asked = arguments()
    settings = [word for setting in asked.set or ["protect=off"] for word in ("--set", setting)]
    alone, together = [], []
    with tempfile.TemporaryDirectory(prefix="forebay-measure-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        fleet = Fleet(asked, folder)
        try:
            fleet.start()
            for number in range(asked.rounds):
                what = [asked.recipe, asked.input, "--progress", "none", *settings]
                run = timed([asked.binary, "run", *what, "--output", folder / "alone", "--memory", asked.memory])
                shutil.rmtree(folder / "alone")
                os.sync()
                before = fleet.cpu()
                server = f"http://127.0.0.1:{fleet.ports['gateway']}"
                submit = ["submit", *what, "--server", server, "--output", f"o{number}", "--job", str(number), "--wait"]
                wall, client = timed([asked.binary, *submit])
                used = {name: now - before[name] for name, now in fleet.cpu().items()} | {"client": client}
                shutil.rmtree(folder / "store" / f"o{number}")
                os.sync()
                alone.append(run)
                together.append((wall, sum(used.values())))
                parts = ", ".join(f"{name} {cpu:.2f}" for name, cpu in used.items())
                print(f"run {run[0]:.2f} s, CPU {run[1]:.2f}; services {wall:.2f} s, CPU {sum(used.values()):.2f} ({parts})")
            print("peak MiB:", fleet.peaks())
        finally:
            fleet.stop()
    for name, index in (("wall", 0), ("CPU", 1)):
        run, services = (statistics.median(times[index] for times in all) for all in (alone, together))
        print(f"medians, {name}: run {run:.2f} s, services {services:.2f} s: {run / services:.0%} of its throughput")


main()
