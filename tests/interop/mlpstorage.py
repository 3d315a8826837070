"""The verdicts of mlpstorage's checkers beside those that are expected, for mlpstorage.sh.

    mlpstorage.py report RESULTS_DIR EXPECTED...   one line for each run: MODEL COMMAND [ACCELERATOR]: CATEGORY[: WHY | WHY]
    mlpstorage.py check SUBMISSION_DIR EXPECTED... one line for each benchmark: BENCHMARK: COMPLAINT | COMPLAINT
"""

import contextlib
import io
import logging
import re
import subprocess
import sys


def reported(folder):
    """What the report generator finds out about each run below `folder`."""
    from mlpstorage_py.config import PARAM_VALIDATION
    from mlpstorage_py.report_generator import ReportGenerator

    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        generator = ReportGenerator(folder, use_colors=False)
        generator.generate_reports()
    if generator.processing_errors:
        sys.exit(f"FAILED: {generator.processing_errors}")
    found = []
    for result in generator.run_results.values():
        run = result.benchmark_run
        who = " ".join(filter(None, [run.model, run.command, run.accelerator]))
        bad = [issue.message for issue in result.issues if issue.validation == PARAM_VALIDATION.INVALID]
        why = f": {' | '.join(sorted(bad))}" if bad else ""
        found.append(f"{who}: {result.category.value.upper()}{why}")
    for (model, _), result in generator.workload_results.items():
        print(f"  submission of {model}: {result.category.value.upper()}")
    return sorted(found)


def checked(folder):
    """What the submission checker complains of in each benchmark below `folder`."""
    command = [sys.executable, "-m", "mlpstorage_py.submission_checker.main", "--input", folder]
    command += ["--version", "v3.0", "--submitters", "lab"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    complaints = {"training": set(), "checkpointing": set()}
    benchmark = None
    for line in said.splitlines():
        begun = re.search(r"INFO\] Starting .* for: .*/(training|checkpointing)/", line)
        if begun:
            benchmark = begun.group(1)
        found = re.search(r"ERROR\] (.*)", line)
        # Those that only say that there were others.
        if found and not re.match(r"Some .* failed|SUMMARY", found.group(1)):
            if benchmark is None:
                sys.exit(f"FAILED: {said}")
            raised = re.match(r"Exception occurred in .* while running (\w+)", found.group(1))
            told = f"{raised.group(1)} raises" if raised else found.group(1).split(":")[0]
            complaints[benchmark].add(told)
    if "SUMMARY" not in said:
        sys.exit(f"FAILED: the checker did not end:\n{said}")
    return [f"{name}: {' | '.join(sorted(told)) or 'no complaint'}" for name, told in complaints.items()]


def main():
    what, folder, expected = sys.argv[1], sys.argv[2], sorted(sys.argv[3:])
    found = sorted({"report": reported, "check": checked}[what](folder))
    for line in found:
        print(f"  {line}")
    if found != expected:
        sys.exit("FAILED: expected\n  " + "\n  ".join(expected))


main()
