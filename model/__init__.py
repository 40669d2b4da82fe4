"""Visual anomaly detection from normal pictures alone: images in, verdicts out."""
