"""Whisper, and other sequence-to-sequence recognisers of transformers, from a folder of safetensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from lsgmer.audio import Waveform, resample
from lsgmer.core.errors import LsgmerError
from lsgmer.core.records import TranscriberSpec
from lsgmer.core.source import library_versions
from lsgmer.encoders.params import TranscribeParams
from lsgmer.encoders.transformer import load_frozen, quiet
from lsgmer.encoders.weights import EncoderFiles
from lsgmer.speech.rejection import DOUBT, MIN_LOG_PROBABILITY, Heard, token_cap

VERSIONS = ("torch", "torchaudio", "transformers", "tokenizers", "numpy")
PROMPT = 4  # tokens that a multilingual Whisper begins with: start, language, task, no timestamps


class Whisper:
    """A recogniser of the Whisper kind, greedily, one piece at a time: the same samples give the same words."""

    def __init__(self, params: TranscribeParams, files: EncoderFiles, device: str = "cpu") -> None:
        quiet()
        self._device, self._folder = device, files.folder
        try:
            self._processor = AutoProcessor.from_pretrained(files.folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise LsgmerError(f"{files.folder}: transformers cannot load this recogniser: {error}") from error
        self._model = load_frozen(AutoModelForSpeechSeq2Seq, files.folder, "recogniser", device)
        self._rate = int(self._processor.feature_extractor.sampling_rate)
        self._asked = self._language(params.language)
        self.spec = TranscriberSpec(
            kind="whisper",
            source=params.source,
            revision=params.revision,
            language=params.language,
            min_log_probability=params.min_log_probability or MIN_LOG_PROBABILITY,
            doubt=DOUBT,
            files={"weights": files.weights_sha256, **files.settings},
            versions=library_versions(VERSIONS),
        )

    @torch.inference_mode()
    def hear(self, wave: Waveform) -> Heard:
        """Return the words in `wave`, of any sample rate, with the log-probability of each token."""
        samples = np.asarray(resample(wave, self._rate).samples, dtype=np.float32)
        given = self._processor(samples, sampling_rate=self._rate, return_tensors="pt")
        inputs = {name: values.to(self._device) for name, values in given.items()}
        cap = token_cap(wave.duration_s)
        found = self._model.generate(
            **inputs,
            **self._asked,
            max_new_tokens=cap + (PROMPT if self._asked else 0),
            do_sample=False,
            num_beams=1,
            return_dict_in_generate=True,
            output_scores=True,
        )
        return self._heard(found, cap)

    def _heard(self, found: Any, cap: int) -> Heard:
        said = found.sequences[0, -len(found.scores) :]
        scores = torch.stack(found.scores)[:, 0].log_softmax(-1)  # (T, V)
        likely = scores.gather(1, said[:, None])[:, 0].tolist()
        special = set(self._processor.tokenizer.all_special_ids)
        tokens = [token for token in said.tolist() if token not in special]
        ended = int(said[-1]) in special
        return Heard(
            self._processor.tokenizer.decode(tokens, skip_special_tokens=True).strip(),
            tuple(tokens),
            tuple(score for score, token in zip(likely, said.tolist(), strict=True) if np.isfinite(score)),
            capped=not ended,
        )

    def _language(self, language: str | None) -> dict[str, Any]:
        """Return what generation is asked for. Raises LsgmerError for a language that the model does not know."""
        if language is None:
            return {}
        known = getattr(self._model.generation_config, "lang_to_id", None)
        if known is None:
            raise LsgmerError(f"{self._folder}: this recogniser takes no language; leave language out")
        if f"<|{language}|>" not in known:
            raise LsgmerError(f"{self._folder}: this recogniser does not know the language {language!r}")
        return {"language": language, "task": "transcribe"}
