"""What surgery costs against what moving the bytes costs: `python -m benchmarks --help`, and docs/performance.md."""
