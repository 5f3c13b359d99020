"""What networks answer is kept on disk: other thresholds and rules cost no network again."""

import hashlib
import sqlite3
import zlib
from dataclasses import replace

import numpy as np
import torch

from helpers import files
from helpers.cascade import weights
from helpers.cascade.weights import foreground
from helpers.slices.pixels import PEAK

NEVER_CERTAIN = 1e-6  # a logit stays finite


def load_networks(folder, file, device="auto"):
    """The networks of a checkpoint folder as `weights.load_networks` gives them, and each keeps its
    answers in `file`, an SQLite file that any number of weights and scans share.
    """
    networks, paths = weights.load_networks(folder, device), weights.paths_of(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    remembering = {}
    for stage, trained in networks.items():
        network = Remembering(trained, files.short_hash(paths[stage]), file)
        remembering[stage] = replace(trained, network=network, path=None)
    return remembering


class Remembering(torch.nn.Module):
    """Stands in for a trained network and isn't asked twice about the same pixels.

    The key of an answer is all that it depends on: the weights, the precision, and the slice with
    its neighbours as the network sees it. So nothing here needs to know which rules come before a
    network, and one that changes its region makes it look again. Answers are kept as the levels
    that `inference.answers` rounds to, so the cascade decides as without it.
    """

    def __init__(self, trained, weights_hash, file):
        super().__init__()
        self.network, self.stage = trained.predicting, trained.card["stage"]
        self.made_of = f"{weights_hash} {self.stage} {trained.precision}".encode()
        self.asked = 0  # slices that the network itself looked at
        self.store = sqlite3.connect(file, timeout=60)
        self.store.execute("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, levels BLOB)")

    def forward(self, x):  # (B, C, H, W) -> logits (B, 1, H, W), or (B, 1) of the gate
        rows = x.cpu().contiguous().numpy()
        keys = [hashlib.blake2b(row.data, key=self.made_of).digest() for row in rows]
        find = "SELECT levels FROM answers WHERE key = ?"
        kept = [self.store.execute(find, (key,)).fetchone() for key in keys]
        if None in kept:
            logits = self.network(x).float()
            if not torch.isfinite(logits).all():
                return logits  # whoever asks raises the error
            self.asked += len(x)
            levels = (foreground(logits, self.stage) * PEAK).round().byte().cpu().numpy()
            answers = [(key, zlib.compress(of_slice.tobytes(), 1))
                       for key, of_slice in zip(keys, levels, strict=True)]
            with self.store:
                self.store.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", answers)
        else:
            shape = x.shape[2:] if self.stage != "gate" else ()
            levels = np.stack([np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
                               for packed, in kept])
        probability = torch.from_numpy(levels)[:, None].to(x.device).float() / PEAK
        return torch.logit(probability, NEVER_CERTAIN)
