"""A service that abstains gives no emotion below the card's threshold, and all the rest."""

from __future__ import annotations

import pytest

from lsgmer.core.errors import LsgmerError
from lsgmer.inference.predictor import Predictor
from lsgmer.inference.speakers import SpeakerLevels
from lsgmer.model.train_card import Abstention
from lsgmer.service.settings import ServiceSettings
from serving.answers import Answers
from serving.form import Fields
from serving.guard import Asked
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


def test_it_does_not_start_where_the_card_names_no_threshold(served: Served) -> None:
    predictor = Predictor.load(served.source / "model", "offline", device="cpu")
    with pytest.raises(LsgmerError, match=r"names no threshold.*switch it off"):
        Answers(predictor, SpeakerLevels(0, 1.0), ServiceSettings(abstain=True))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
