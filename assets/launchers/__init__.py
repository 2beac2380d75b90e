"""Launchers of stages: on this machine, or as a job of Slurm, Ray or Kubernetes."""
