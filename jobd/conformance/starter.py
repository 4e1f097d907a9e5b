"""Starts one run, prints its handle, and kills itself, as jobd may be killed. Reads from stdin, as JSON, the executor's
kind, its options, and the spec's installation, exec_id, image and argv.
"""

import json
import os
import signal
import sys

from jobd import plugins
from jobd.errors import ImageAbsent
from jobd.executor import Region, RunSpec


def main() -> None:
    order = json.load(sys.stdin)
    kind = plugins.executor_kinds(plugins.build())[order["kind"]]
    words = {**order["spec"], "argv": tuple(order["spec"]["argv"])}
    spec = RunSpec(
        daemon="conformance",
        job_id=1,
        namespace="default",
        environment={"GREETING": "hello"},
        cpus=0.5,
        memory=64 * 2**20,
        max_log=10 * 2**20,
        **words,
    )
    executor = kind(Region("CONFORMANCE", spec.installation, kind.options(**order["options"])))
    try:
        handle = executor.create(spec)
    except ImageAbsent:
        executor.pull(spec)
        handle = executor.create(spec)
    executor.start(handle)
    print(f"started {handle.id}", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
