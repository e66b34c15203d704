"""All that is shown beside an answer: where the model looked, and what each word and each record value was worth."""

from __future__ import annotations

from collections.abc import Sequence

from medmm.explain.counterfactual import deletion
from medmm.explain.overlay import DEFAULT, PATCHES, overlays
from medmm.explain.words import record_values, words
from medmm.model.batch import Features
from medmm.model.folder import Model
from medmm.result import Explanation


def explain(model: Model, case: Features, note: str, deletions: Sequence[str] = ()) -> tuple[Explanation, ...]:
    """Overlays, words and record values for every label of one encoded case, in the model's order of labels.

    Args:
        model: the one that answered.
        case: encoded by it, with its trunks; without them, or with planes of a volume encoder, its patches are hidden.
        note: the text that was encoded; empty if there was none.
        deletions: labels of which is asked, too, without what they would be called otherwise: up to a thousand
            questions to the fusion head each.
    """
    pictures = case.layout.pictures
    method = DEFAULT if pictures and len(case.trunks) == len(pictures) and None not in case.trunks else PATCHES
    maps, said, values = overlays(model, case, method), words(model, case, note), record_values(model, case)
    flips = {label: deletion(model, case, note, model.labels.index(label)) for label in deletions}
    return tuple(
        Explanation(label, method, maps[i], said[i], values[i], flips.get(label))
        for i, label in enumerate(model.labels)
    )
