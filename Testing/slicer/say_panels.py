"""For test_module.py: an application that says what the panels of the modules show, and leaves."""

import slicer

for name in ("MedDDPMSynth", "MedDDPMTraining"):
    slicer.util.selectModule(name)
    slicer.app.processEvents()
    for label in slicer.util.findChildren(getattr(slicer.modules, f"{name}Widget").parent, className="QLabel"):
        if "cannot be used" in label.text:
            print("PANEL", label.text, flush=True)
slicer.util.exit(0)
