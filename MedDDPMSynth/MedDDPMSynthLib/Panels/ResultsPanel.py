"""The samples that were generated from the chosen segmentation, and what can be done with them."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from MedDDPMSlicerLib import Nodes
from MedDDPMSlicerLib.Panels.Base import Panel
from MedDDPMSlicerLib.Panels.Widgets import enable, fillComboBox, say, setCells, setUpTable
from MedDDPMSlicerLib.Views import showSideBySide
from slicer.i18n import tr as _

from .. import Results
from ..LocalEdit import sameContrast
from ..Marking import isEdited
from ..Options import realScan
from .Context import Context
from .Texts import anatomySentence, verificationText

KEEP, NAME, SEED, VERIFIED, MODEL = range(5)
# So many views fit side by side.
MAX_VIEWS = 4


class ResultsPanel(Panel):
    """A table of samples and its buttons."""

    messageLabel = "ResultsMessageLabel"

    def __init__(self, ui: Any, context: Context) -> None:
        super().__init__(ui, context)
        self.samples: list[Any] = []
        self._ended: list[Any] = []
        self._stale = True
        self._filling = False
        self._segmentation: Any = None
        self._usualLayout: int | None = None
        setUpTable(ui.ResultsTable, MODEL)
        ui.ResultsTable.wordWrap = False
        ui.ResultsTable.itemChanged.connect(self.onItemChanged)
        ui.ResultsTable.itemSelectionChanged.connect(self._onSelected)
        ui.ResultsTable.cellDoubleClicked.connect(lambda *_: self.show())
        ui.ShowButton.clicked.connect(self.show)
        ui.SideBySideButton.clicked.connect(self.sideBySide)
        ui.CompareButton.clicked.connect(self.compare)
        ui.UsualLayoutButton.clicked.connect(self.usualLayout)
        ui.StatisticsButton.clicked.connect(self.statistics)
        ui.DiscardButton.clicked.connect(self.discard)
        say(ui.ResultsMessageLabel, "")

    def refresh(self) -> None:
        """Show the samples of another segmentation."""
        parameters = self.context.parameters
        segmentation = parameters.segmentation if parameters is not None else None
        if segmentation != self._segmentation:
            self._segmentation, self._stale = segmentation, True
        self._updateButtons()

    def tick(self) -> None:
        """Fill the table again where samples came or went."""
        ended = [run for run in self.context.service.runs if run.finished]
        if ended != self._ended:
            self._ended, self._stale = ended, True
        if self._stale and self.context.busyRun is None:
            self.fill()

    def sceneChanged(self) -> None:
        """Samples may have come or gone."""
        self._stale = True

    def sceneClosing(self) -> None:
        """Forget all nodes."""
        self.samples, self._segmentation, self._usualLayout = [], None, None
        self.ui.ResultsTable.rowCount = 0

    def fill(self) -> None:
        """Read the samples from the scene into the table."""
        self._stale = False
        chosen = {sample.key for sample in self.selected()}
        self.samples = list(Results.samplesOf(self._segmentation)) if self._segmentation is not None else []
        self._filling = True
        table = self.ui.ResultsTable
        table.rowCount = len(self.samples)
        for row, sample in enumerate(self.samples):
            self._fillRow(row, sample)
            if sample.key in chosen:
                table.selectRow(row)
        verified = [table.item(row, VERIFIED).text() for row in range(len(self.samples))]
        table.setColumnHidden(VERIFIED, not any(verified))
        self._filling = False
        names = Results.modalitiesOf(self.samples)
        box = self.ui.ResultsModalityComboBox
        fillComboBox(box, [(name, name) for name in names], box.currentText)
        self._updateButtons()

    def onItemChanged(self, item: Any) -> None:
        """The user set or removed a check in the column Keep."""
        if not self._filling and item.column() == KEEP:
            Results.setKept(self.samples[item.row()], item.checkState() == qt.Qt.Checked)
            self._stale = True

    def selected(self) -> list[Any]:
        """The samples whose rows are selected, in the order of the table."""
        rows = sorted({index.row() for index in self.ui.ResultsTable.selectionModel().selectedRows()})
        return [self.samples[row] for row in rows if row < len(self.samples)]

    def show(self) -> None:
        """Show the selected sample (or the first) in the usual slice views."""
        with self.told():
            volume = self._chosenVolume()
            self.usualLayout()
            Nodes.showInSlices(volume)

    def sideBySide(self) -> None:
        """Show several samples next to each other in linked views."""
        with self.told():
            chosen = self.selected()
            chosen = chosen if len(chosen) > 1 else self.samples
            volumes = {str(sample.number): sample.volume(self.modality) for sample in chosen[:MAX_VIEWS]}
            self._arrange({title: volume for title, volume in volumes.items() if volume is not None})

    def compare(self) -> None:
        """Show the selected sample beside the real MRI."""
        with self.told():
            parameters, sample = self.context.parameters, [*self.selected(), *self.samples][0]
            scan = realScan(parameters)
            real, made, contrast = sameContrast(sample, self.modality, scan, parameters.referenceVolume)
            what = _("Edited scan") if isEdited(made) else _("Synthetic")
            self._arrange({_("Real {contrast}").format(contrast=contrast): real, f"{what} {contrast}": made})
            self._say(
                _("The {contrast} images are compared: {name} and {name2}.").format(
                    contrast=contrast, name=real.GetName(), name2=made.GetName()
                )
            )

    def usualLayout(self) -> None:
        """Go back to the layout from before the comparison."""
        if self._usualLayout is not None:
            slicer.app.layoutManager().setLayout(self._usualLayout)
            self._usualLayout = None
        self._updateButtons()

    def statistics(self) -> None:
        """Compute mean and variability over the kept samples, in small pieces."""
        with self.told():
            kept = [sample for sample in self.samples if sample.kept]
            self._say(_("Mean and variability are being computed…"))
            task = Results.statisticsTask(kept, self.modality, self._onStatistics, self.sayError)
            self.context.service.startTask(task)

    def discard(self) -> None:
        """Remove the samples that are not kept."""
        with self.told():
            dropped = [sample for sample in self.samples if not sample.kept]
            for sample in dropped:
                Results.discardSample(sample, self.context.service.jobs)
            self._say(f"{len(dropped)} removed." if dropped else "")
            self.fill()

    @property
    def modality(self) -> str:
        """The image that the buttons work on."""
        return self.ui.ResultsModalityComboBox.currentText

    def _fillRow(self, row: int, sample: Any) -> None:
        keep = qt.QTableWidgetItem()
        keep.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsSelectable)
        keep.setCheckState(qt.Qt.Checked if sample.kept else qt.Qt.Unchecked)
        model = sample.volumes[0].GetAttribute("MedDDPM.model") if sample.volumes else ""
        what = _("Edited scan") if sample.edited else _("Sample")
        name = f"{what} {sample.number:02d}" + (" (preview)" if sample.automatic else "")
        verified = verificationText(Results.factsOf(sample, Results.SAMPLE_VERIFICATION))[0]
        texts = (name, str(sample.seed), verified, model or "")
        facts = self._facts(sample)
        self.ui.ResultsTable.setItem(row, KEEP, keep)
        cells = [(text, f"{text}. {facts}" if facts else text) for text in texts]
        setCells(self.ui.ResultsTable, row, cells, first=NAME)

    def _facts(self, sample: Any) -> str:
        """What is known of its anatomy and of segmenting it again."""
        verified = verificationText(Results.factsOf(sample, Results.SAMPLE_VERIFICATION))[1]
        return f"{anatomySentence(Results.factsOf(sample, Results.SAMPLE_ANATOMY))} {verified}".strip()

    def _chosenVolume(self) -> Any:
        sample = [*self.selected(), *self.samples][0]
        volume = sample.volume(self.modality)
        return volume if volume is not None else sample.volumes[0]

    def _arrange(self, volumes: dict[str, Any]) -> None:
        manager = slicer.app.layoutManager()
        if self._usualLayout is None:
            self._usualLayout = manager.layout
        showSideBySide(volumes, manager.layoutLogic().GetLayoutNode())
        slicer.app.processEvents()  # the new views must exist before they are fitted
        slicer.util.resetSliceViews()
        self._updateButtons()

    def _onSelected(self) -> None:
        self._updateButtons()
        if not self._filling and self.selected():
            self._say(self._facts(self.selected()[0]))

    def _updateButtons(self) -> None:
        ui, parameters = self.ui, self.context.parameters
        count, kept = len(self.samples), sum(sample.kept for sample in self.samples)
        none = _("There are no samples of this segmentation yet: press Generate.") if not count else None
        hasMri = parameters is not None and (parameters.referenceVolume is not None or realScan(parameters))
        noMri = None if hasMri else _("Choose the reference MRI in section 2, or the volumes of the real scan, first.")
        enable(ui.ShowButton, none)
        enable(ui.SideBySideButton, none or (_("There is only one sample: generate another.") if count < 2 else None))
        enable(ui.CompareButton, none or noMri)
        enable(ui.UsualLayoutButton, None if self._usualLayout is not None else _("No comparison is shown."))
        fewKept = _("Fewer than two samples are kept: generate more or check Keep.") if kept < 2 else None
        enable(ui.StatisticsButton, none or fewKept)
        allKept = _("All samples are kept: remove the check of those to discard.") if kept == count else None
        enable(ui.DiscardButton, none or allKept)

    def _onStatistics(self, *nodes: Any) -> None:
        self._say(_("Mean and variability were added beside the samples."))
        if nodes:
            Nodes.showInSlices(nodes[-1])

    def _say(self, text: str) -> None:
        say(self.ui.ResultsMessageLabel, text)
