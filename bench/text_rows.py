"""Row `text`: MiniLM on texts of MELD's lengths, as the features stage encodes them, against one text at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import AutoModel, AutoTokenizer

from bench.loso import sentences
from bench.paired import NotMeasured, Pair
from lsgmer.encoders.build import build_text
from lsgmer.encoders.weights import find_files
from lsgmer.features.batch import length_buckets
from lsgmer.params import load_params

ROOT = Path(__file__).parents[1]
MELD = ROOT.parent / "shared" / "data" / "meld" / "dev_sent_emo.csv"
COUNT = 400


def pairs() -> list[Pair]:
    """Return the row; its texts are MELD's own where the corpus is there, else generated."""
    params = load_params(ROOT / "params.yaml", ["runtime.device=cpu"])
    torch.set_num_threads(params.runtime.threads)
    encoder = build_text(params.features.text, ROOT)
    if encoder is None:
        raise NotMeasured("features.text.kind is none in params.yaml; set it to transformers")
    random = np.random.default_rng(0)
    if MELD.is_file():
        texts = list(random.choice(pd.read_csv(MELD)["Utterance"].astype(str).to_numpy(), COUNT, replace=False))
    else:
        texts = sentences(COUNT, None, random)
    given = params.features.text
    folder = find_files(given.source, given.revision, given.sha256, ROOT).folder
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    buckets = length_buckets([len(text) for text in texts], params.features.batch_size)

    def ours() -> None:
        for rows in buckets:
            encoder.encode([texts[row] for row in rows])

    def control() -> None:
        with torch.inference_mode():
            for text in texts:
                inputs = tokenizer(text, truncation=True, max_length=given.max_tokens, return_tensors="pt")
                model(**inputs).last_hidden_state[0].numpy()

    source = "MELD's dev part" if MELD.is_file() else "1 to 22 generated words"
    return [
        Pair(
            "text",
            f"MiniLM, {COUNT} texts ({source}): the features stage's encoder, in its batches",
            "transformers, one text at a time",
            ours,
            control,
            COUNT,
            "text",
        )
    ]
