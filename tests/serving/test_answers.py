"""A service that abstains gives no emotion below the card's threshold; every answer is logged, refusals too."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.inference.predictor import Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.model.train_card import Abstention
from lsgmer.service.log_report import find
from lsgmer.service.settings import ServiceSettings
from serving.answers import Answers
from serving.form import Fields
from serving.guard import Asked, Refusal
from tests.support.server import Served


@pytest.mark.parametrize(
    ("abstain", "threshold", "gives"), [(True, 0.99, False), (True, 0.1, True), (False, 0.99, True)]
)
@pytest.mark.anyio
async def test_it_abstains_when_told_to(served: Served, abstain: bool, threshold: float, gives: bool) -> None:
    predictor = Predictor.load(served.source / "model", "offline", device="cpu")
    limit = Abstention(risk=0.1, threshold=threshold, coverage=0.5, n=10)
    predictor.card = predictor.card.model_copy(update={"abstention": limit})
    answers = Answers(predictor, SpeakerLevels(0, 1.0), ServiceSettings(abstain=abstain))
    (answer,) = await answers.answer([Fields(text="hello there")], Asked("a"), "/predict")
    answers.close()
    assert isinstance(answer, dict)
    assert answer["abstained"] == (not gives)
    assert (answer["emotion"] is None) == (not gives)
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.anyio
async def test_what_is_refused_for_lack_of_room_is_logged(served: Served, tmp_path: Path, stopping: bool) -> None:
    predictor = Predictor.load(served.source / "model", "offline", device="cpu")
    answers = Answers(predictor, SpeakerLevels(0, 1.0), ServiceSettings(log=tmp_path / "log", max_waiting=1))
    if stopping:
        answers._batches.close()
    with pytest.raises(Refusal, match="stopping" if stopping else "max_waiting"):
        await answers.answer([Fields(text="hello there"), Fields(text="see you")], Asked("a"), "/predict_batch")
    answers.close()
    (line,) = find(tmp_path / "log", "a/1")
    assert (line.content["status"], line.content["output"]) == (503, None)


def test_it_does_not_start_where_the_card_names_no_threshold(served: Served) -> None:
    predictor = Predictor.load(served.source / "model", "offline", device="cpu")
    with pytest.raises(LsgmerError, match=r"names no threshold.*switch it off"):
        Answers(predictor, SpeakerLevels(0, 1.0), ServiceSettings(abstain=True))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
