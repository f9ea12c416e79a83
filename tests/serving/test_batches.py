"""What waits is predicted together; one item's fault is its own; long items take turns; nothing taken is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lsgmer.audio import Waveform
from lsgmer.core.errors import LsgmerError
from lsgmer.inference.predictor import Input
from serving.batches import LONG_S, Batches, Busy, Closed


class Model:
    """Answers with the text itself, once `open` is set; refuses the text "bad"; remembers its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[list[str]] = []

    def __call__(self, items: Sequence[Input]) -> list[Any]:
        self.open.wait(10)
        self.batches.append([str(item.text) for item in items])
        if any(item.text == "bad" for item in items):
            raise LsgmerError("this one is bad")
        if any(item.text == "bug" for item in items):
            raise RuntimeError("a bug")
        return [item.text for item in items]


def words(*texts: str) -> list[Input]:
    return [Input(text=text) for text in texts]


def call(text: str, seconds: float) -> Input:
    return Input(audio=Waveform(np.zeros(int(100 * seconds), np.float32), 100), text=text)


async def gathered(batches: Batches, model: Model, *items: Input) -> list[Any]:
    """Ask for the first item, and for the others while it is being predicted."""
    tasks = [asyncio.create_task(batches.predict([items[0]]))]
    await asyncio.sleep(0.05)
    tasks += [asyncio.create_task(batches.predict([item])) for item in items[1:]]
    await asyncio.sleep(0.05)
    model.open.set()
    return await asyncio.gather(*tasks)


@pytest.fixture
def model() -> Model:
    return Model()


def test_what_waits_is_predicted_together_in_order(model):
    batches = Batches(model, 4, 100, 1e6)
    found = asyncio.run(gathered(batches, model, *words("a", "b", "c", "d", "e", "f")))
    assert found == [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]
    assert model.batches == [["a"], ["b", "c", "d", "e"], ["f"]]
    batches.close()


def test_a_bad_item_fails_alone_and_a_bug_is_raised(model):
    batches = Batches(model, 8, 100, 1e6)
    model.open.set()
    first, bad, last = asyncio.run(batches.predict(words("a", "bad", "b")))
    assert (first, str(bad), last) == ("a", "this one is bad", "b")
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(batches.predict(words("bug")))
    assert asyncio.run(batches.predict(words("next"))) == ["next"]
    batches.close()


def test_long_items_take_turns_with_batches_of_short_ones(model):
    batches = Batches(model, 2, 100, 1e6)
    items = [*words("a"), call("long 1", LONG_S + 1), call("long 2", LONG_S + 1), *words("b", "c", "d", "e")]
    asyncio.run(gathered(batches, model, *items))
    assert model.batches == [["a"], ["long 1"], ["b", "c"], ["long 2"], ["d", "e"]]
    batches.close()


def test_more_than_may_wait_are_refused_and_the_others_answered(model):
    async def ask() -> None:
        first = asyncio.create_task(batches.predict(words("a")))
        await asyncio.sleep(0.05)  # it is being predicted, and no longer waits
        second = asyncio.create_task(batches.predict(words("b", "c")))
        await asyncio.sleep(0.05)
        with pytest.raises(Busy):
            await batches.predict(words("d"))
        model.open.set()
        assert (await first, await second) == (["a"], ["b", "c"])

    batches = Batches(model, 8, 2, 1e6)
    asyncio.run(ask())
    batches.close()


def test_more_audio_than_may_wait_is_refused(model):
    async def ask() -> None:
        first = asyncio.create_task(batches.predict(words("a")))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(batches.predict([call("b", 2)]))  # 200 samples of 4 bytes
        await asyncio.sleep(0.05)
        with pytest.raises(Busy):
            await batches.predict([call("c", 1)])
        model.open.set()
        assert (await first, await second) == (["a"], ["b"])

    batches = Batches(model, 8, 100, 1000)
    asyncio.run(ask())
    batches.close()


def test_who_went_away_is_not_predicted(model):
    async def ask() -> None:
        first = asyncio.create_task(batches.predict(words("a")))
        await asyncio.sleep(0.05)
        gone, stays = (asyncio.create_task(batches.predict(words(text))) for text in ("gone", "stays"))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.05)
        model.open.set()
        assert (await first, await stays) == (["a"], ["stays"])

    batches = Batches(model, 8, 100, 1e6)
    asyncio.run(ask())
    assert model.batches == [["a"], ["stays"]]
    batches.close()


def test_closing_finishes_what_was_taken(model):
    async def ask() -> list[Any]:
        tasks = [asyncio.create_task(batches.predict(words(text))) for text in "abc"]
        await asyncio.sleep(0.05)
        threading.Timer(0.1, model.open.set).start()
        await asyncio.to_thread(batches.close)
        with pytest.raises(Closed):
            await batches.predict(words("d"))
        return await asyncio.gather(*tasks)

    batches = Batches(model, 1, 100, 1e6)
    assert asyncio.run(ask()) == [["a"], ["b"], ["c"]]
