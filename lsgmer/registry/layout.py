"""Where things are inside a Bento's sources, under src/."""

from __future__ import annotations

from lsgmer.model.train_card import CARD, WEIGHTS

MODEL = "model"  # the checkpoint, and packed encoders
MODEL_WEIGHTS = f"{MODEL}/{WEIGHTS}"
MODEL_TRAIN_CARD = f"{MODEL}/{CARD}"
PAPERS = "papers"
MODEL_CARD = f"{PAPERS}/model_card.json"
PACKAGE_SOURCE = f"{PAPERS}/package_source.json"
PROFILE = f"{PAPERS}/profile.json"
REQUIREMENTS = "requirements.txt"  # what to install to serve it, with hashes
