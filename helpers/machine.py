"""What computes here: the versions, the processor and the commit that a result was made with."""

import os
import platform
import subprocess
from pathlib import Path

from helpers import __version__, paths


def described():
    """Plain values that a result may depend on besides its settings, for its card."""
    import numpy
    import torch

    told = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": numpy.__version__}
    told |= {"helpers": __version__, "commit": commit(), "system": platform.system(), "processor": processor()}
    told |= {"threads": torch.get_num_threads()}
    return told | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def processor():
    """The processor's name and its cores: "AMD EPYC 7R13, 2 cores"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def commit():
    """The commit of this copy, "-dirty" after it when files were changed since; empty where there is no git."""
    words = ["git", "-C", str(paths.HERE), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
