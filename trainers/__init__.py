"""Training of continuous-in-depth networks: data, optimisation, command lines."""
