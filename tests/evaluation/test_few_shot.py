"""Accuracy of episodes and its interval."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperzoo.errors import UserError
from paperzoo.evaluation.few_shot import FewShotAccuracy, mean_interval

META = {'split': 'test', 'classes': ('ant', 'bee', 'cat'), 'ways': 2, 'shots': 1}


def metric(**kwargs: object) -> FewShotAccuracy:
    made = FewShotAccuracy(**kwargs)
    made.dataset_meta = META
    return made


def sample(pred: list[int], truth: list[int], classes: list[int] | None = None) -> dict:
    fields = {'pred_label': torch.tensor(pred), 'gt_label': torch.tensor(truth)}
    return fields if classes is None else {**fields, 'class': torch.tensor(classes)}


def test_a_number_that_can_be_checked() -> None:
    """Mean 50, standard deviation 50: 1.96 and 4.303 times 50 / sqrt(3)."""
    found = mean_interval(np.array([0.0, 50.0, 100.0]))
    assert found.mean == 50
    assert found.normal == pytest.approx(1.959964 * 50 / 3**0.5)
    assert found.student == pytest.approx(4.302653 * 50 / 3**0.5)


def test_one_episode_has_no_interval() -> None:
    found = mean_interval(np.array([0.5]))
    assert found.mean == 0.5
    assert np.isnan(found.normal)
    assert np.isnan(found.student)


@given(
    st.lists(st.floats(0, 100), min_size=2, max_size=50),
    st.floats(-10, 10),
    st.floats(0.1, 10),
)
def test_interval_moves_and_stretches_with_the_values(
    values: list[float], shift: float, scale: float
) -> None:
    one = mean_interval(np.array(values))
    other = mean_interval(scale * np.array(values) + shift)
    assert other.mean == pytest.approx(scale * one.mean + shift, abs=1e-6)
    assert other.normal == pytest.approx(scale * one.normal, abs=1e-6)
    assert one.student >= one.normal


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    few = [mean_interval(rng.normal(3, 2, 5)) for _ in range(2000)]
    held = np.mean([abs(one.mean - 3) < one.student for one in few])
    too_narrow = np.mean([abs(one.mean - 3) < one.normal for one in few])
    # 2000 trials at 0.95: a standard deviation of 0.005.
    assert held == pytest.approx(0.95, abs=0.02)
    assert too_narrow < 0.92


def test_metric_counts_episodes_and_classes() -> None:
    one = metric(classwise=True)
    one.process(None, [sample([0, 1, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0])])
    one.process(None, [sample([1, 0], [0, 1], [0, 2]), sample([0, 1], [0, 1])])
    found = one.evaluate(3)
    accuracies = np.array([75.0, 0.0, 100.0])
    interval = mean_interval(accuracies)
    assert found['few_shot/test_accuracy'] == pytest.approx(accuracies.mean())
    assert found['few_shot/test_ci95'] == pytest.approx(interval.normal)
    assert found['few_shot/test_ci95_t'] == pytest.approx(interval.student)
    assert found['few_shot/test_episodes'] == 3
    assert found['few_shot/test_classes'] == 3
    # Of class 0 two queries of three were right, of class 2 one of three.
    assert found['few_shot/test_class/ant'] == pytest.approx(200 / 3)
    assert np.isnan(found['few_shot/test_class/bee'])
    assert found['few_shot/test_class/cat'] == pytest.approx(100 / 3)


def test_the_report_names_split_and_classes(capsys: pytest.CaptureFixture) -> None:
    from mmengine.logging import MMLogger

    MMLogger.get_instance('few_shot_report')
    one = metric()
    one.process(None, [sample([0, 1], [0, 1], [2, 0]), sample([0, 0], [0, 1], [0, 1])])
    one.evaluate(2)
    said = ''.join(capsys.readouterr())
    assert "split 'test' (3 classes), 2-way 1-shot, 2 episodes: 75.00 +-" in said
    assert 'hardest classes: bee 0.0' in said


def test_another_split_is_refused() -> None:
    one = metric(split='val')
    one.process(None, [sample([0, 1], [0, 1])] * 2)
    with pytest.raises(UserError, match=r"split='val'.*split 'test'"):
        one.evaluate(2)
