"""Pretrained networks: source, licence, download and verification of each."""
