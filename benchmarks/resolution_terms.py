"""Write what networks lose at other resolutions into the shipped accuracy table of `ofa-mbv3`.

    python -m benchmarks.resolution_terms

A fit knows one resolution, and no accuracies by resolution are public. The terms are read off the accuracy
predictor of Once-for-all's authors; a table that is fitted again has none: run this after it.
"""

from __future__ import annotations

from dataclasses import replace

from ponas_deploy.tables.accuracy_file import write_accuracy_table
from ponas_deploy.tables.resolution_terms import ResolutionTerm, ResolutionTerms
from ponas_deploy.tables.store import accuracy_table

TERMS = ResolutionTerms(
    tuple(
        ResolutionTerm(resolution, lost_pp)
        for resolution, lost_pp in ((160, 3.1), (176, 1.8), (192, 1.0), (208, 0.3), (224, 0.0))
    ),
    off_pp=0.2,
    source="the accuracy predictor of Once-for-all's authors, of width 1.2 at 160 to 224 px",
)

if __name__ == "__main__":
    shipped = accuracy_table("accuracy/ofa-mbv3")
    write_accuracy_table(replace(shipped.table, resolution_terms=TERMS), shipped.path, overwrite=True)
    print(f"{shipped.path}: {TERMS.text(term.resolution for term in TERMS.terms)}")
