"""Attribution: which features caused an output, checked by ablation."""
