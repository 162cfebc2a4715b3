"""No action of a person holds the application up: the module's own work on the GUI thread, action by action."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from driving import (
    SlicerTestCase,
    activateEffect,
    clickAt,
    dragFrom,
    openModule,
    rest,
    say,
    segmentId,
    waitUntil,
)
from stalls import LIMIT_SECONDS, StallMeter

# Brain without tumor, on the patient's right of the sample case (RAS mm).
HEALTHY, ACROSS = (35.0, 0.0, 0.0), (35.0, 25.0, 0.0)


class HoldingTest(SlicerTestCase):
    """Each test takes the steps of a way through the module and says how long each holds the GUI thread."""

    def setUp(self) -> None:
        """Nothing was measured yet."""
        super().setUp()
        self.held: dict[str, float] = {}

    def measure(self, what: str, action: Callable[[], object], until: Callable[[], object] | None = None) -> None:
        """Do it, wait until it is done, and note the longest piece of work."""
        rest(0.3)
        with StallMeter() as meter:
            action()
            if until is not None:
                waitUntil(until, what)
            rest(0.5)
        self.held[what] = meter.longestCpu

    def judge(self) -> None:
        """Nothing took too long."""
        say("ms of the GUI thread: " + ", ".join(f"{what} {1000 * held:.0f}" for what, held in self.held.items()))
        # Two thirds of it are the Segment Editor's and the views' own, which get the mask.
        limits = {"loading the sample case": 2 * LIMIT_SECONDS}
        over = {what: held for what, held in self.held.items() if held > limits.get(what, LIMIT_SECONDS)}
        self.assertEqual(over, {})

    def testFromTheSampleCaseToItsImages(self) -> None:
        """Opening, loading, painting, placing, generating, comparing."""
        ui = self.ui
        slicer.util.selectModule("Data")
        self.measure("opening the module", openModule)
        self.measure("loading the sample case", ui.SampleCaseButton.click, lambda: ui.SampleCaseButton.enabled)
        self.agree()
        self.fewSteps()
        segmentation = self.parameters.segmentation
        editor = ui.SegmentEditorWidget
        self.measure("the check", lambda: None, lambda: "ready" in ui.CheckStatusLabel.text)

        def paint() -> None:
            editor.setCurrentSegmentID(segmentId(segmentation, "Enhancing tumor"))
            editor.setActiveEffectByName("Paint")
            dragFrom("Red", HEALTHY, ACROSS)

        self.measure("painting", paint, lambda: "ready" in ui.CheckStatusLabel.text)
        self.measure("undo", editor.undo)
        self.measure("choosing the effect", lambda: activateEffect(editor))
        effect = editor.activeEffect().self()
        self.measure("placing a lesion", lambda: clickAt("Red", HEALTHY), lambda: not effect.working)
        self.measure("undoing the lesion", editor.undo)
        effect.scriptedEffect.setParameter("Tool", "Move")
        effect.scriptedEffect.setParameter("Scale", "120")
        self.measure("changing a tumor", lambda: effect._do(effect.actions.apply()), lambda: not effect.working)
        self.measure("leaving the effect", lambda: editor.setActiveEffect(None))
        waitUntil(lambda: ui.GenerateButton.enabled, "Generate")
        self.measure("generating", ui.GenerateButton.click, lambda: self.service.run.finished)
        self.measure("showing results", ui.ShowButton.click)
        self.measure("side by side", ui.SideBySideButton.click)
        self.judge()
