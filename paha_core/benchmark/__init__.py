"""The benchmark: the paper's tables as data, the runner, the report.

from paha_core.benchmark.run import run_benchmark
from paha_core.benchmark.report.page import build_report
rows = run_benchmark(store, preset)
build_report(store, preset)  # writes report/index.html
"""
