"""All that is shown beside an answer: where the model looked, and what each word and each record value was worth."""

from __future__ import annotations

from collections.abc import Sequence

from medmm.explain.counterfactual import deletion
from medmm.explain.hiding import Questions
from medmm.explain.overlay import DEFAULT, PATCHES, overlays
from medmm.explain.words import record_values, words
from medmm.model.batch import Features
from medmm.model.folder import Model
from medmm.result import Explanation, Prediction


def explain(
    model: Model, case: Features, note: str, closely: Sequence[str] | None = None, deletions: Sequence[str] = ()
) -> tuple[Explanation, ...]:
    """Overlays, words and record values for every label of one encoded case, in the model's order of labels.

    Args:
        model: the one that answered.
        case: encoded by it, with its trunks; without them, or with planes of a volume encoder, its patches are hidden.
        note: the text that was encoded; empty if there was none.
        closely: labels that have the finest overlay; of the others patches are hidden, which is coarser and costs next
            to nothing. All of them if None.
        deletions: labels of which is asked, too, without what they would be called otherwise: up to a thousand
            questions to the fusion head each.
    """
    pictures = case.layout.pictures
    fine = len(case.trunks) == len(pictures) and None not in case.trunks
    near = [i for i, label in enumerate(model.labels) if fine and (closely is None or label in closely)]
    far = [i for i in range(len(model.labels)) if i not in near]
    asked = Questions(model, case)
    maps = dict(zip(near, overlays(asked, DEFAULT, labels=near), strict=True)) if near else {}
    maps |= dict(zip(far, overlays(asked, PATCHES, labels=far), strict=True)) if far else {}
    said, values = words(asked, note), record_values(asked)
    flips = {label: deletion(asked, note, model.labels.index(label)) for label in deletions}
    return tuple(
        Explanation(label, DEFAULT if i in near else PATCHES, maps[i], said[i], values[i], flips.get(label))
        for i, label in enumerate(model.labels)
    )


def worth_a_look(prediction: Prediction) -> tuple[str, ...]:
    """The labels that a person will look at first: those that are flagged or uncertain, and the leading one."""
    chosen = {finding.label for finding in prediction.findings if finding.call != "not flagged"}
    chosen.add(prediction.leading.label)
    return tuple(finding.label for finding in prediction.findings if finding.label in chosen)
