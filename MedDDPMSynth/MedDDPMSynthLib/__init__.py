"""Logic of the module MedDDPM Synth; needs neither Qt nor a main window."""
