"""Where the processes of a stage run: on this machine, or as a job of Slurm, Ray or Kubernetes."""
