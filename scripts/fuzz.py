"""Gives hostile inputs to everything that takes bytes from outside, for as long as you like; keeps what broke it.

    python scripts/fuzz.py --target osc --minutes 10     one of the targets, minutes of processor time
    python scripts/fuzz.py --minutes 10                  all of them, one after the other
    python scripts/fuzz.py --siege 100000                hostile packets to a whole host, played to a clock
    python scripts/fuzz.py --report                      figures of these runs into docs/reliability.md

Run with the extras ``cpu``, ``gui``, ``midi`` and ``dev``. Where ``atheris`` is installed (pip install atheris; it is
needed for nothing else), what reaches new lines of Python is built upon; else good examples are spoiled again and
again. Working corpus, finds and figures lie in FOLDER (default: build/fuzz). Each find is a file that
``--replay FILE --target NAME`` shows again; mend it, and put the file into tests/corpus/fuzz/NAME.
"""

import argparse
import faulthandler
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

BEGIN, END = "<!-- inputs: written by scripts/fuzz.py --report -->", "<!-- inputs: end -->"
TOLD_S = 2.0
STUCK_S = 20
LARGEST_CORPUS = 4000


def work(name: str, folder: Path, cpu_s: float, seed: int, engine: str) -> None:
    """In a process of its own: inputs to a target until the processor time is used up; tells by FOLDER/told.json."""
    atheris = _atheris() if engine == "atheris" else None
    with atheris.instrument_imports(include=["duende"]) if atheris else nullcontext():
        from fuzzing.run import Examiner, bounded_memory, inputs, kept, name_of
        from fuzzing.targets import TARGETS

    faulthandler.enable()
    target = TARGETS[name]
    (folder / "finds").mkdir(parents=True, exist_ok=True)
    (folder / "corpus").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, target.open(Path(scratch)) as harness, bounded_memory():
        examine = Examiner(harness, folder / "last")
        told, start = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        def tell() -> None:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            state = {
                "executions": examine.executions, "cpu_s": time.process_time(), "slowest_s": examine.slowest_s,
                "grown_mib": (usage.ru_maxrss - start) / 1024, "finds": [one.text for one in examine.finds.values()],
            }  # fmt: skip
            part = folder / "told.part"
            part.write_text(json.dumps(state))
            part.replace(folder / "told.json")

        def give(data: bytes) -> None:
            nonlocal told
            found = examine(data)
            if found is not None:
                path = folder / "finds" / f"{name}-{name_of(data)}"
                path.write_bytes(found.data)
                path.with_suffix(".txt").write_text(f"{found.text}\n{found.details}")
                print(f"{name}: {found.text} ({path})", flush=True)
            if time.process_time() - told > TOLD_S:
                told = time.process_time()
                tell()
                if told > cpu_s:
                    os._exit(0)

        if atheris is None:
            for data in inputs(target, seed):
                give(data)
            return

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            try:
                if rng.random() < 0.6:
                    return target.mutate(data, rng)[:most]
            except Exception:  # noqa: BLE001 - it would be lost in libFuzzer, which waits for ever
                traceback.print_exc()
            return bytes(atheris.Mutate(data, min(most, len(data) + 64)))

        first = folder / "first"
        first.mkdir(exist_ok=True)
        for data in (*target.seeds(), *kept(target)):
            (first / name_of(data)).write_bytes(data)
        options = [f"-seed={seed}", f"-max_len={1 << 17}", "-timeout=36000", "-rss_limit_mb=0", "-verbosity=0"]
        options += [
            "-handle_abrt=0",
            "-detect_leaks=0",
            "-print_final_stats=0",
            f"-artifact_prefix={folder}/finds/{name}-",
        ]
        atheris.Setup([sys.argv[0], *options, str(folder / "corpus"), str(first)], give, custom_mutator=mutate)
        atheris.Fuzz()


def fuzz(name: str, folder: Path, cpu_s: float, engine: str) -> None:
    """A target for so long, in processes that are started again where one dies; adds to the figures before."""
    from fuzzing.run import last_of, name_of

    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.json"
    total: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {}
    left, seed = cpu_s, total.get("runs", 0) + 1
    while left > 0:
        (folder / "told.json").unlink(missing_ok=True)
        command = [sys.executable, __file__, "--work", str(left), "--target", name, "--folder", str(folder)]
        command += ["--seed", str(seed), "--engine", engine]
        died = attend(command, folder)
        told = json.loads((folder / "told.json").read_text()) if (folder / "told.json").is_file() else {}
        left -= max(TOLD_S, told.get("cpu_s", 0.0))
        finds = set(total.get("finds", [])) | set(told.get("finds", []))
        if died and (folder / "last").is_file():
            _, data = last_of(folder / "last")
            (folder / "finds").mkdir(exist_ok=True)
            path = folder / "finds" / f"{name}-died-{name_of(data)}"
            path.write_bytes(data)
            finds.add(died)
            print(f"{name}: {died}: {path}", flush=True)
        total = {
            "runs": seed,
            "engine": engine,
            "executions": total.get("executions", 0) + told.get("executions", 0),
            "cpu_s": total.get("cpu_s", 0.0) + told.get("cpu_s", 0.0),
            "slowest_s": max(total.get("slowest_s", 0.0), told.get("slowest_s", 0.0)),
            "grown_mib": max(total.get("grown_mib", 0.0), told.get("grown_mib", 0.0)),
            "finds": sorted(finds),
        }
        results.write_text(json.dumps(total, indent=1))
        seed += 1
    print(f"{name}: {total['executions']} inputs in {total['cpu_s']:.0f} s, {len(total['finds'])} finds", flush=True)


def attend(command: list[str], folder: Path) -> str:
    """Run a worker to its end, or end it where it is stuck; what went wrong."""
    from fuzzing.run import last_of

    last = folder / "last"
    last.unlink(missing_ok=True)
    with (folder / "log.txt").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as worker:
        count, since = 0, 0.0
        while True:
            try:
                code = worker.wait(5.0)
                return f"the process died with {code}" if code else ""
            except subprocess.TimeoutExpired:
                pass
            spent = _cpu_s(worker.pid)
            now = last_of(last)[0] if last.is_file() else -1
            if now != count:
                count, since = now, spent
            elif spent - since > STUCK_S:
                # faulthandler writes into the log where it hangs.
                worker.send_signal(signal.SIGABRT)
                worker.wait()
                return f"it hung for {STUCK_S} s"


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far, where /proc tells it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def coverage_of(name: str, folder: Path) -> float:
    """Share of the lines of the target's own code that its corpus reaches, in percent."""
    import coverage

    from fuzzing.targets import TARGETS

    target = TARGETS[name]
    cover = coverage.Coverage(data_file=None, include=[f"{ROOT}/{part}*" for part in target.code])
    cover.start()
    from fuzzing.run import Examiner, kept

    with tempfile.TemporaryDirectory() as scratch, target.open(Path(scratch)) as harness:
        examine = Examiner(harness)
        found = sorted((folder / "corpus").iterdir())[:LARGEST_CORPUS] if (folder / "corpus").is_dir() else []
        for data in (*target.seeds(), *kept(target), *(path.read_bytes() for path in found)):
            examine(data)
    cover.stop()
    lines = reached = 0
    for file in cover.get_data().measured_files():
        _, statements, _, missing, _ = cover.analysis2(file)
        lines, reached = lines + len(statements), reached + len(statements) - len(missing)
    return 100.0 * reached / max(1, lines)


def report(folder: Path) -> None:
    """Write the table between its markers; rows of what was not run in this folder stay as they are."""
    from fuzzing.run import MEMORY_BYTES, SLOW_S, kept
    from fuzzing.targets import TARGETS
    from reliability_page import read_section, rows_of, write_section

    before = read_section(BEGIN, END)
    told = rows_of(before)

    rows = [
        "| input | given to | inputs | processor time | slowest input | memory | faults found and mended |",
        "|---|---|---|---|---|---|---|",
    ]
    engines = {"atheris"} if "atheris" in before else set()
    for name, target in TARGETS.items():
        path = folder / name / "results.json"
        if not path.is_file():
            rows += [told[target.what]] if target.what in told else []
            continue
        one = json.loads(path.read_text())
        engines.add(one["engine"])
        rows.append(
            f"| {target.what} | `{name}` | {one['executions']:,} | {one['cpu_s'] / 60:.1f} min | "
            f"{1e3 * one['slowest_s']:.0f} ms | {one['grown_mib']:.0f} MiB | {len(kept(target))} |"
        )
    how = "with mutators that know each format"
    if "atheris" in engines:
        how += ", guided by coverage (atheris)"
    text = (
        f"Each input, {how}, has to end in a result or in one line of refusal: no other exception, at most\n"
        f"{SLOW_S:g} s of processor time, at most {MEMORY_BYTES >> 20} MiB beyond what the process had. Where one did "
        "not, the fault was mended, and\nthe input is kept in `tests/corpus/fuzz`; the tests give it again, with some "
        "hundred new ones for each target.\n\n" + besieged(folder, before) + "\n".join(rows)
    )
    write_section("Inputs", BEGIN, END, text)


def siege(count: int, folder: Path) -> None:
    """A host with all its processes takes so many packets over TCP, and as many by UDP; what it says afterwards."""
    from dataclasses import asdict

    from fuzzing.siege import SilentHost, besiege

    with tempfile.TemporaryDirectory() as home:
        host = SilentHost(Path(home))
        try:
            for seed in (3, 4):
                besiege(host, 1000, seed)
            outcome = asdict(besiege(host, count))
            played = host.supervisor.shared.written
            time.sleep(0.5)
            outcome["plays"] = bool(host.supervisor.shared.written > played and host.ask("ping"))
        finally:
            print(*host.supervisor.health.reasons, sep="\n")
            host.end()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "siege.json").write_text(json.dumps(outcome, indent=1))
    print(outcome)


def besieged(folder: Path, before: str) -> str:
    """What the siege came to, as a paragraph; where there was none, the one that was told before, if any."""
    path = folder / "siege.json"
    if not path.is_file():
        return "".join(f"{part}\n\n" for part in before.split("\n\n") if part.endswith("(`--siege`)."))
    one = json.loads(path.read_text())
    return (
        f"A whole host, played to a clock, took {one['taken']:,} hostile OSC packets and {one['others']:,} requests "
        f"and frames over HTTP in\n{one['seconds']:.0f} s, while {one['samples'] / 48000:.0f} s of sound were played: "
        f"{one['late']} blocks late, {one['restarts']} restarts, {one['failed']} faults of the program, control grew "
        f"by\n{max(0.0, one['grown_mib']):.1f} MiB; afterwards it "
        f"{'answered and played on' if one['plays'] else 'was gone'} (`--siege`).\n\n"
    )


def replay(name: str, path: Path) -> int:
    """Run one input, and let out what it raises."""
    from fuzzing.run import bounded_memory
    from fuzzing.targets import TARGETS

    with tempfile.TemporaryDirectory() as scratch, TARGETS[name].open(Path(scratch)) as harness, bounded_memory():
        began = time.process_time()
        harness(path.read_bytes())
    print(f"{path}: {time.process_time() - began:.3f} s, no fault")
    return 0


def _atheris() -> Any:
    try:
        import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return None
    return atheris


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", action="append", help="one of them, several times for several; default: all")
    parser.add_argument("--minutes", type=float, default=1.0, help="processor time for each target")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--engine", choices=("atheris", "plain"), default="atheris" if _atheris() else "plain")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--siege", type=int)
    parser.add_argument("--work", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.work is not None:
        work(options.target[0], options.folder, options.work, options.seed, options.engine)
    if options.replay is not None:
        return replay(options.target[0], options.replay)
    if options.siege is not None:
        siege(options.siege, options.folder)
        return 0
    if options.report:
        report(options.folder)
        return 0
    from fuzzing.targets import TARGETS

    for name in options.target or TARGETS:
        fuzz(name, options.folder / name, 60.0 * options.minutes, options.engine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
