"""How right a straggler analysis is, measured on simulated clusters where the truth is known."""
